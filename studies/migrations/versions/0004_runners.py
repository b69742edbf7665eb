"""runners."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Change the schema."""
    op.create_table(
        "paredown_runners",
        sa.Column("token", sa.String(length=32), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("lease_until", sa.Float(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["paredown_studies.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("token"),
    )
    op.create_index("ix_paredown_runners_study_id", "paredown_runners", ["study_id"])
    op.create_table(
        "paredown_orphans",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("runner", sa.String(length=32), nullable=False),
        sa.Column("result", sa.JSON(), nullable=False),
        sa.Column("told_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["paredown_studies.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_paredown_orphans_study_id", "paredown_orphans", ["study_id"])
    op.add_column("paredown_trials", sa.Column("deaths", sa.Integer(), server_default="0", nullable=False))
    op.create_index("ix_paredown_trials_state", "paredown_trials", ["study_id", "state", "parent"])
    op.drop_table("paredown_drivers")
