"""The producer: a separate process that submits notifications to one system.

`python -m bench.comparison.submitter SYSTEM` reads one JSON list of notifications per line, and answers each
with its begin and end (seconds since the epoch).
"""

import importlib
import json
import sys
import time


def main() -> None:
    submit = importlib.import_module(f"bench.comparison.on_{sys.argv[1]}").submit
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        notifications = json.loads(line)
        began = time.time()
        submit(notifications)
        print(json.dumps({"began": began, "ended": time.time()}), flush=True)


if __name__ == "__main__":
    main()
