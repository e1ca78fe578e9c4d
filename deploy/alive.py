#!/usr/bin/env python3
"""The health check of our processes: `alive.py PORT` ends with 0 if /healthz answers 200 there, else says why not."""

import http.client
import sys

try:
    asked = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=4)
    asked.request("GET", "/healthz")
    answer = asked.getresponse()
except (OSError, http.client.HTTPException) as error:
    sys.exit(f"{type(error).__name__}: {error}")
if answer.status != http.HTTPStatus.OK:
    sys.exit(f"{answer.status} {answer.read(500).decode(errors='replace')}")
