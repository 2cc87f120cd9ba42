"""How long from exec to the first 200: python3 -c "$(cat tests/load/first_answer.py)" PATH COMMAND...

Runs inside a container that is already up, so that its start is not counted; prints milliseconds.
"""

import http.client
import subprocess
import sys
import time

path, *command = sys.argv[1:]
began = time.monotonic()
with subprocess.Popen(
    [*command, "--bind", "127.0.0.1:9000"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
) as server:
    try:
        while time.monotonic() < began + 30:
            connection = http.client.HTTPConnection("127.0.0.1", 9000, timeout=5)
            try:
                connection.request("GET", path)
                if connection.getresponse().status == 200:
                    print(round((time.monotonic() - began) * 1000))
                    break
            except OSError:
                time.sleep(0.002)
            finally:
                connection.close()
        else:
            sys.exit("no 200 within 30 s")
    finally:
        server.terminate()
