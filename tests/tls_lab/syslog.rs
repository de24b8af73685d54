//! A syslog daemon for what writes no file of its own: a machine for each program, which it is named after.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

const SOCKET: &str = "/dev/log";
/// `Nov 29 01:26:11 `, as syslog(3) writes it.
const STAMP_BYTES: usize = 16;
const DATAGRAM_BYTES_MAX: usize = 8_192;

/// Writes down, as long as the test runs, what is logged.
pub fn listen(file: &Path) {
    let socket = UnixDatagram::bind(SOCKET).unwrap();
    fs::set_permissions(SOCKET, fs::Permissions::from_mode(0o666)).unwrap();
    let mut log = fs::File::create(file).unwrap();
    std::thread::spawn(move || {
        let mut room = [0; DATAGRAM_BYTES_MAX];
        while let Ok(length) = socket.recv(&mut room) {
            let text = String::from_utf8_lossy(&room[..length]).into_owned();
            log.write_all(with_machine(&text).as_bytes()).unwrap();
        }
    });
}

/// `<22>Nov 29 01:26:11 smtpd[7]: text`, with the machine's name behind the stamp and without the priority.
fn with_machine(text: &str) -> String {
    let text = text.split_once('>').map_or(text, |(_, text)| text).trim_end_matches(['\0', '\n']);
    let (stamp, rest) = text.split_at(STAMP_BYTES);
    let machine = rest.split(['[', ':']).next().unwrap();
    format!("{stamp}{machine} {rest}\n")
}
