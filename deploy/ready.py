#!/usr/bin/env python3
"""The health check of our processes: `ready.py PORT` ends with 0 if /readyz answers 200 there, else says why not.

It asks whether the process can do its work, not whether it lives: Compose starts what has ended by itself again, and
does nothing to what is unhealthy. So `up --wait` waits for the right thing, and nothing is killed over a lost database.
"""

import http.client
import sys

try:
    asked = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=4)
    asked.request("GET", "/readyz")
    answer = asked.getresponse()
except (OSError, http.client.HTTPException) as error:
    sys.exit(f"{type(error).__name__}: {error}")
if answer.status != http.HTTPStatus.OK:
    sys.exit(f"{answer.status} {answer.read(500).decode(errors='replace')}")
