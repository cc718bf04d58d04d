"""Copies topics until caught up, with a callback for every event, and nothing else: what the bench compares with the
command line.

Arguments: the addresses of the source, of the target, the topics, the name of the mirror.
"""

import sys

import kmirror

source, target, topics, name = sys.argv[1:]
events: list[str] = []
with kmirror.Mirror(
    source={"bootstrap.servers": source},
    target={"bootstrap.servers": target},
    topics=topics,
    name=name,
    on_event=lambda event: events.append(event.kind),
) as mirror:
    mirror.wait_until_caught_up()
assert events
