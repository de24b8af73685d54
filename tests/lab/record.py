"""Records an interface into a pcap file until it is ended. In: interface, file. Out: the file."""

import socket
import struct
import sys
import time

with open(sys.argv[2], "wb", buffering=0) as out:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 20)
    sock.bind((sys.argv[1], 0))
    out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1))
    while True:
        frame = sock.recv(262144)
        now = time.time()
        out.write(struct.pack("<IIII", int(now), int(now % 1 * 1e6), len(frame), len(frame)) + frame)
