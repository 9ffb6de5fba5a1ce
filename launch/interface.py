"""Write the name of the network interface through which this node reaches the address given."""

import socket
import sys

import psutil

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
    probe.connect((sys.argv[1], 9))  # sends nothing, but chooses the way
    mine = probe.getsockname()[0]  # on the node whose address it is: that address, though the way is the loopback
names = [name for name, places in psutil.net_if_addrs().items() if mine in {place.address for place in places}]
sys.stdout.write(f"{names[0]}\n")
