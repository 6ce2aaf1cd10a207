"""Example of a stimulus: hands one CALL to the operator's port of a CSMS, `python ask_csms.py HOST PORT`.

``twin replay --stimulus`` gives one JSON object on standard input: action, payload (with the live
transactionId) and station_id. Put your CSMS's own interface here: an HTTP request, a message queue, its
command line. Exit 0 once the CSMS has taken it; anything else, with a sentence on standard error, and the
report says that it failed.
"""

import socket
import sys

DEADLINE_S = 30

if __name__ == "__main__":
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=DEADLINE_S) as desk:
        desk.sendall(sys.stdin.readline().encode())
        said = desk.makefile().readline().strip()
    if said != "ok":
        sys.exit(said or "the CSMS said nothing")
