#!/bin/sh
# Namespaces, links and the span port of the lab. Run inside namespaces made by `run`, never outside of them.
#
#   mx-out1 203.0.113.10  ┐
#   mx-out2 203.0.113.11  │
#   app1    203.0.113.20  ├─ switch (bridge) ─ port `uplink` ─ gw ─ inet 198.18.0.0/15: receivers, attackers, DNS
#   office  10.20.0.0/16  │              │              └─ mxreal 198.51.100.25: a Postfix of somebody else
#   block   192.0.2.0/24  ┘              └─ mirrored by tc to span0 in `sensor` ─ siem 10.99.0.2
set -eu
[ "${LAB_HERE:-}" ] || { echo "net.sh: not inside the lab" >&2; exit 1; }

if [ -z "${LAB_PACKAGE:-}" ]; then
    mount --make-rprivate /
    mount -t tmpfs -o mode=755 none /run
fi
mkdir -p /run/netns
ip link set lo up

space() {
    ip netns add "$1"
    ip -n "$1" link set lo up
}
# link NAMESPACE INTERFACE NAMESPACE INTERFACE
link() {
    ip link add "$2" netns "$1" type veth peer name "$4" netns "$3"
    ip -n "$1" link set "$2" up
    ip -n "$3" link set "$4" up
}
# port NAMESPACE: a link to the switch
port() {
    link "$1" eth0 switch "p-$1"
    ip -n switch link set "p-$1" master br0
}

for name in switch gw inet mxreal mx-out1 mx-out2 app1 office block sensor siem; do space "$name"; done
ip -n switch link add br0 type bridge
ip -n switch link set br0 up
for name in mx-out1 mx-out2 app1 office block; do port "$name"; done
link gw eth0 switch uplink
ip -n switch link set uplink master br0

for server in mx-out1=10 mx-out2=11 app1=20; do
    name=${server%=*}
    ip -n "$name" address add "203.0.113.${server#*=}/24" dev eth0
    ip -n "$name" route add 10.20.0.0/16 dev eth0
    ip -n "$name" route add default via 203.0.113.1
done
# A whole network of machines in one namespace: every address of it is local there.
ip -n office address add 10.20.0.2/16 dev eth0
ip -n office route add local 10.20.0.0/16 dev lo
ip -n office route del 10.20.0.0/16 dev eth0 proto kernel 2>/dev/null || true
ip -n office route add 203.0.113.0/24 dev eth0
ip -n office route add default via 203.0.113.1
ip -n block route add local 192.0.2.0/24 dev lo
ip -n block route add 203.0.113.0/24 dev eth0
ip -n block route add default via 203.0.113.1

ip -n gw address add 203.0.113.1/24 dev eth0
ip -n gw route add 10.20.0.0/16 dev eth0
ip -n gw route add 192.0.2.0/24 dev eth0
link gw eth1 inet eth0
ip -n gw address add 198.51.100.1/30 dev eth1
ip -n inet address add 198.51.100.2/30 dev eth0
ip -n inet route add local 198.18.0.0/15 dev lo
ip -n inet route add default via 198.51.100.1
ip -n gw route add 198.18.0.0/15 via 198.51.100.2
link gw eth2 mxreal eth0
ip -n gw address add 198.51.100.26/30 dev eth2
ip -n mxreal address add 198.51.100.25/30 dev eth0
ip -n mxreal route add default via 198.51.100.26
ip netns exec gw sysctl -qw net.ipv4.ip_forward=1
for name in gw inet office block; do ip netns exec "$name" sysctl -qw net.ipv4.conf.all.rp_filter=0; done

# The span port: what enters and leaves the uplink, both ways, as a switch would copy it.
link switch span sensor span0
ip netns exec switch tc qdisc add dev uplink clsact
for way in ingress egress; do
    ip netns exec switch tc filter add dev uplink "$way" protocol all u32 match u32 0 0 \
        action mirred egress mirror dev span
done

link sensor mgmt siem eth0
ip -n sensor address add 10.99.0.1/30 dev mgmt
ip -n siem address add 10.99.0.2/30 dev eth0

echo "nameserver 198.18.0.53" >"$LAB_DIR/resolv.conf"
mount --bind "$LAB_DIR/resolv.conf" "$(readlink -f /etc/resolv.conf)"
