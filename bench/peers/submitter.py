"""The producer: a process of its own that hands notifications over to one system, on request.

`python -m bench.peers.submitter SYSTEM` reads one JSON list of notifications a line and answers with the
times (seconds since the epoch) at which it began and ended.
"""

import importlib
import json
import sys
import time


def main() -> None:
    submit = importlib.import_module(f"bench.peers.on_{sys.argv[1]}").submit
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        notifications = json.loads(line)
        began = time.time()
        submit(notifications)
        print(json.dumps({"began": began, "ended": time.time()}), flush=True)


if __name__ == "__main__":
    main()
