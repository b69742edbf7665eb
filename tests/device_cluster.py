"""A Ray cluster with a second node that plays a device; it prints its address and obeys its standard input.

`add` starts the node and prints its id and the number of its raylet, `kill` kills it as a power cut would.
"""

import sys

from ray.cluster_utils import Cluster

if __name__ == "__main__":
    quick = {"health_check_initial_delay_ms": 1000, "health_check_period_ms": 500, "health_check_failure_threshold": 10}
    head = {"num_cpus": 2, "include_dashboard": False, "_system_config": quick}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    print(cluster.address, flush=True)
    for line in sys.stdin:
        if line.strip() == "add":
            node = cluster.add_node(num_cpus=0, resources={"pi4": 1}, include_dashboard=False)
            raylet = node.all_processes["raylet"][0].process.pid
            print(node.node_id, raylet, flush=True)
        else:
            cluster.remove_node(node, allow_graceful=False)
            print("gone", flush=True)
    cluster.shutdown()
