"""Goal: the nodes of a cluster reach one another by the proxies of a chaos run and by no other way.

Method: the programs that `pricetime up` would start, as a run starts them. A route past the proxies would survive a
node's isolation: half of it then still follows or leads, and what is measured is something else.
"""

import json
from itertools import permutations
from pathlib import Path

from chaos.launch import NODES, PROXIES, TARGETS, rebuilt
from cli.servers import nats_cluster_plans, nats_program


def test_nodes_are_led_through_proxies_and_told_of_no_other_way(tmp_path: Path) -> None:
    ports = {pair: 40000 + place for place, pair in enumerate(permutations(NODES, 2))}
    proxies = {near: {far: port for (by, far), port in ports.items() if by == near} for near in NODES}
    (tmp_path / PROXIES).write_text(json.dumps(proxies))
    plans = nats_cluster_plans(tmp_path)
    for plan in plans:
        program = rebuilt(nats_program(plan), tmp_path)
        for far, port in proxies[plan.part].items():
            assert f"127.0.0.1:{port}" in program.environment[f"PRICETIME_NATS_ROUTE_{far[-1]}"]
        assert program.command[-2:] == ("--cluster_advertise", "127.0.0.1:1")
    led = json.loads((tmp_path / TARGETS).read_text())
    where = {plan.part: plan.route_port for plan in plans}
    assert led == {str(port): where[far] for (_, far), port in ports.items()}
