"""The lab's mail servers, its DNS and its syslog receiver: their configuration, and how each is started.

Everything runs inside the namespaces of net.sh and dies with them.
"""

import os
import shutil
import subprocess
from pathlib import Path

LAB = Path(os.environ["LAB_DIR"])

MASTER = """\
smtp       inet  n - n - - smtpd
submission inet  n - n - - smtpd -o syslog_name=postfix/submission -o smtpd_sasl_auth_enable=yes
    -o smtpd_relay_restrictions=permit_sasl_authenticated,reject
    -o smtpd_recipient_restrictions=permit_sasl_authenticated,reject
pickup     unix  n - n 60 1 pickup
cleanup    unix  n - n - 0 cleanup
qmgr       unix  n - n 5 1 qmgr
tlsmgr     unix  - - n 1000? 1 tlsmgr
rewrite    unix  - - n - - trivial-rewrite
bounce     unix  - - n - 0 bounce
defer      unix  - - n - 0 bounce
trace      unix  - - n - 0 bounce
verify     unix  - - n - 1 verify
flush      unix  n - n 1000? 0 flush
proxymap   unix  - - n - - proxymap
proxywrite unix  - - n - 1 proxymap
smtp       unix  - - n - - smtp
relay      unix  - - n - - smtp
showq      unix  n - n - - showq
error      unix  - - n - - error
retry      unix  - - n - - error
discard    unix  - - n - - discard
local      unix  - n n - - local
virtual    unix  - n n - - virtual
lmtp       unix  - - n - - lmtp
anvil      unix  - - n - 1 anvil
scache     unix  - - n - 1 scache
postlog    unix-dgram n - n - 1 postlogd
"""

MAIN = """\
compatibility_level = 3.6
myhostname = {name}.{domain}
mydomain = {domain}
myorigin = {domain}
mydestination = {name}.{domain}, localhost
mynetworks = {networks}
inet_interfaces = all
inet_protocols = ipv4
queue_directory = {at}/spool
data_directory = {at}/data
maillog_file = {log}
maillog_file_prefixes = {lab}
syslog_facility = mail
alias_maps =
smtp_host_lookup = dns
smtp_tls_security_level = may
smtp_tls_loglevel = 1
smtpd_peername_lookup = no
minimal_backoff_time = {backoff}s
maximal_backoff_time = {backoff}s
queue_run_delay = {backoff}s
smtp_connect_timeout = 5s
smtp_helo_timeout = 10s
smtpd_sasl_path = smtpd
smtpd_sasl_local_domain = {domain}
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
{more}
"""


def in_space(space, *command, **options):
    """Starts a command in a namespace; gives the process."""
    return subprocess.Popen(["ip", "netns", "exec", space, *map(str, command)], **options)


def chosen(space, *command, **options):
    """Runs a command in a namespace to its end; fails loudly."""
    done = subprocess.run(["ip", "netns", "exec", space, *map(str, command)], capture_output=True, text=True, **options)
    if done.returncode:
        raise RuntimeError("%s in %s: %s%s" % (command[0], space, done.stdout, done.stderr))
    return done.stdout


def certificate():
    """A certificate that every receiver shows, and its key."""
    cert, key = LAB / "mx.crt", LAB / "mx.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-subj", "/CN=mx.example", "-days", "3650", "-keyout", key, "-out", cert],
                   check=True, capture_output=True)
    return cert, key


class Postfix:
    """One instance. `syslog` lets it log through a real rsyslog with RFC 3339 stamps, else postlogd writes."""

    def __init__(self, space, domain, zone, syslog=False, networks="127.0.0.0/8", backoff=6, more=""):
        self.space, self.domain, self.zone, self.syslog = space, domain, zone, syslog
        self.at = LAB / space
        self.log = self.at / "mail.log"
        for part in ("conf/sasl", "spool", "data"):
            (self.at / part).mkdir(parents=True, exist_ok=True)
        shutil.chown(self.at / "data", "postfix")
        (self.at / "conf/master.cf").write_text(MASTER)
        (self.at / "conf/main.cf").write_text(MAIN.format(
            name=space, domain=domain, at=self.at, lab=LAB, networks=networks, backoff=backoff, more=more,
            log="" if syslog else self.log))
        (self.at / "conf/sasl/smtpd.conf").write_text(
            "pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: %s/sasldb2\nmech_list: PLAIN LOGIN\n" % self.at)

    def accounts(self, logins, password):
        """Gives each login the password."""
        for login in logins:
            user, _, realm = login.partition("@")
            subprocess.run(["saslpasswd2", "-p", "-c", "-f", self.at / "sasldb2", "-u", realm, user],
                           input=password, text=True, check=True)
        shutil.chown(self.at / "sasldb2", "postfix")

    def start(self):
        # Its own host name, and where it uses syslog its own /dev/log.
        script = "hostname %s; " % self.space
        if self.syslog:
            (self.at / "rsyslog.conf").write_text(
                'global(workDirectory="%s")\nmodule(load="builtin:omfile" Template="RSYSLOG_FileFormat")\n'
                'module(load="imuxsock" SysSock.Use="off")\ninput(type="imuxsock" Socket="/dev/log")\n'
                'mail.* action(type="omfile" file="%s")\n' % (self.at, self.log))
            script += (
                "mkdir -p {at}/dev; mount -t tmpfs -o mode=755 none {at}/dev; cp -a /dev/null /dev/zero /dev/random /dev/urandom /dev/full {at}/dev; "
                "ln -s /proc/self/fd {at}/dev/fd; mount --move {at}/dev /dev; "
                "rsyslogd -f {at}/rsyslog.conf -i {at}/rsyslog.pid; "
                "for i in 1 2 3 4 5 6 7 8 9 10; do [ -S /dev/log ] && break; sleep 0.1; done; ").format(at=self.at)
        script += "exec postfix -c %s/conf start" % self.at
        environment = dict(os.environ, TZ=self.zone)
        chosen(self.space, "unshare", "--uts", "--mount", "sh", "-c", script, env=environment, timeout=30)
        if not self.log.exists():
            self.log.touch()

    def stop(self):
        chosen(self.space, "postfix", "-c", self.at / "conf", "stop", timeout=30)


EXIM = """\
primary_hostname = app1.{domain}
domainlist local_domains =
acl_smtp_rcpt = accept_all
exim_user = mail
exim_group = mail
spool_directory = {at}/spool
log_file_path = {at}/%slog
pid_file_path = {at}/exim.pid
host_lookup =
tls_advertise_hosts =
disable_ipv6
queue_only = false
keep_environment =
daemon_smtp_ports = 25
exim_path = {binary}
timezone = {zone}
log_selector = +all_parents +received_recipients +smtp_confirmation +outgoing_interface
qualify_domain = {domain}
begin acl
accept_all:
  accept
begin routers
out:
  driver = dnslookup
  domains = ! +local_domains
  transport = remote_smtp
  no_more
begin transports
remote_smtp:
  driver = smtp
  hosts_require_dane =
  hosts_try_dane =
begin retry
* * F,10m,6s
begin authenticators
"""


class Exim:
    """The application server's mail server, unpacked from Debian's package."""

    def __init__(self, space, domain, zone):
        self.space, self.at, self.zone = space, LAB / space, zone
        self.binary = Path(os.environ["LAB_EXIM"]) / "usr/sbin/exim4"
        self.log = self.at / "mainlog"
        (self.at / "spool").mkdir(parents=True, exist_ok=True)
        for path in (self.at, self.at / "spool"):
            shutil.chown(path, "mail", "mail")
        (self.at / "exim.conf").write_text(EXIM.format(domain=domain, at=self.at, binary=self.binary, zone=zone))

    @property
    def there(self):
        return self.binary.exists()

    def start(self):
        # Debian's Exim trusts one configuration file, and knows its user by name: an /etc of its own has both.
        etc = self.at / "etc"
        (etc / "exim4").mkdir(parents=True, exist_ok=True)
        shutil.copy(self.at / "exim.conf", etc / "exim4/exim4.conf")
        shutil.copy("/etc/resolv.conf", etc / "resolv.conf")
        for name, line in (("passwd", "Debian-exim:x:8:8::/nonexistent:/usr/sbin/nologin\n"), ("group", "Debian-exim:x:8:\n")):
            text = Path("/etc", name).read_text()
            (etc / name).write_text(text if "Debian-exim:" in text else text + line)
        script = ("hostname app1; mount -t overlay -o lowerdir={etc}:/etc overlay /etc; "
                  "exec {exim} -bd -q6s").format(etc=etc, exim=self.binary)
        self.process = in_space(self.space, "unshare", "--uts", "--mount", "sh", "-c", script,
                                env=dict(os.environ, TZ=self.zone),
                                stdout=open(self.at / "exim.out", "w"), stderr=subprocess.STDOUT)
        self.log.touch()
        shutil.chown(self.log, "mail", "mail")


def dns(places):
    """DNS for {domain: (mx name, address)}; every other name of `.example` is one address."""
    lines = ["no-resolv", "no-hosts", "no-daemon", "user=root", "pid-file", "cache-size=0", "address=/example/198.18.77.77"]
    for domain, (name, address) in sorted(places.items()):
        lines += ["mx-host=%s,%s,10" % (domain, name), "address=/%s/%s" % (name, address)]
    (LAB / "dnsmasq.conf").write_text("\n".join(lines) + "\n")
    return in_space("inet", "dnsmasq", "--conf-file=%s" % (LAB / "dnsmasq.conf"),
                    stdout=open(LAB / "dnsmasq.out", "w"), stderr=subprocess.STDOUT)


def siem_syslog():
    """A real rsyslog that writes what it got, with the time at which it got it."""
    at = LAB / "siem"
    at.mkdir(exist_ok=True)
    (at / "rsyslog.conf").write_text(
        'global(workDirectory="%s" maxMessageSize="256k" parser.escapeControlCharactersOnReceive="off")\n'
        'module(load="imtcp")\ninput(type="imtcp" port="514")\n'
        'template(name="arrived" type="list") { property(name="timegenerated" dateFormat="rfc3339") '
        'constant(value=" ") property(name="app-name") constant(value=" ") property(name="msg") constant(value="\\n") }\n'
        '*.* action(type="omfile" file="%s/syslog" template="arrived")\n' % (at, at))
    return in_space("siem", "rsyslogd", "-n", "-f", at / "rsyslog.conf", "-i", at / "rsyslog.pid",
                    stdout=open(at / "rsyslog.out", "w"), stderr=subprocess.STDOUT)
