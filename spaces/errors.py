"""Errors and signals, by who acts on them.

The tree, checked by a test against the classes::

    ParedownError                  root of all that carry a message for the user; exit code 2 but for one
      SpaceError                   a knob, family or step that does not exist, or a value outside its range
        BaselineRefused            the same of a space's reference network
        NetworkRefused             spaces/user_network.py: a network of the user's that cannot be built
        WeightsRefused             spaces/checkpoint.py: a file of weights that does not fit its network
        HubRefused                 spaces/hubs.py: a network that timm or torchvision does not have
        ModelRefused               spaces/families/imported.py: `model` or `weights` of a study file
        InfeasibleCandidate        a candidate that cannot be built or breaks a limit: rejected, not failed
          Unfit                    evaluators/rehearsal.py: a network that would fail after it was trained
          NoIntegerFile            evaluators/litert/integer_graph.py: a model that int8 TensorFlow Lite cannot hold
      ImportRefused                spaces/importing.py: `package.module:name` that cannot be imported
      TaskError                    evaluators/errors.py: data that is missing, malformed or too little
        DamagedImage               evaluators/tasks/image_file.py: a file that is no image, or a damaged one
      EvaluationError              evaluators/errors.py: a candidate that could not be trained or measured
        TrialTimeout               evaluators/errors.py: a trial that ran longer than it may
        NotFinite                  evaluators/errors.py: a loss or an output that is infinite or no number
        ExtraMissing               evaluators/errors.py: an extra of the package that is not installed
        TeacherRefused             evaluators/training/teacher.py: a network that cannot teach
      DeviceError                  evaluators/errors.py: a device that does not exist or is not described
      PackingError                 evaluators/errors.py: a packed file that is broken
      StudyError                   studies/errors.py: a study that cannot be opened or contradicts what is asked
        StudyNotFound              studies/errors.py: no study of that name
        DatabaseUnusable           studies/errors.py: no database, or one with a newer schema
        NothingFits                studies/errors.py: no model keeps the limits
        ExportRefused              studies/errors.py: an exported model that does not do what its network does
        TokenRefused               studies/access/tokens.py: a token that cannot be made or revoked
        JobConflict                studies/queue/jobs.py: a job that cannot be what a request asks for
      DatasetNotFound              search/service/datasets.py: no data set of that name
      DatasetConflict              search/service/datasets.py: a data set that cannot be what a request asks for
      UploadTooLarge               search/service/datasets.py: more than the server takes
      UploadStalled                search/service/held_upload.py: an upload that has stalled
      NotAllowed                   search/service/pages/changes.py: a change on a page that the token may not ask for
      ServerRefused                search/api/connection.py: a server that refuses a request or cannot be reached
      ConfigError                  search/errors.py: a study file or an option that says what cannot be
      SearchAborted                search/errors.py: a search that makes no sense to go on with; exit code 4
      ClusterLost                  search/errors.py: Ray or its cluster is gone; the study goes on later
    Refused                        search/service/guard.py: a request that is not let in; the server answers it
    _Late                          search/remote_device/measuring_process.py: a device has not answered in time
    _Away                          search/remote_device/measuring_process.py: a device is not in its cluster
    _Died                          search/remote_device/measuring_process.py: a process on a device has died
    TrialSignal                    evaluators/errors.py: root of what ends a running trial without an error
      TrialStopped                 evaluators/errors.py: the trial was judged and ends early
      TrialInterrupted             evaluators/errors.py: the whole search ends, the trial will run again

Any other exception that reaches the command line is a bug and ends it with exit code 1; see
`paredown.search.cli.exit_codes`.
"""


class ParedownError(Exception):
    """Root of the errors that carry a message for the user."""


class SpaceError(ParedownError):
    """A knob, family or step that does not exist, or a value outside its range."""


class BaselineRefused(SpaceError):
    """A knob of the reference network that does not exist or does not count, or a value outside its range."""


class InfeasibleCandidate(SpaceError):
    """The candidate cannot be built, or breaks a limit that is known before training."""
