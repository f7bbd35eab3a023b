//! Requests to a node's admin port that are meant badly: lengths that nobody has memory for, bodies that never come,
//! names that a browser was led by. The node goes on, and ends when it is told to.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::bench::{Place, admin, alone, ask, pids_of};
use crate::binary::write;
use crate::tools::{cluster, terminated};

fn send(address: &str, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("it can be set");
    stream.write_all(request.as_bytes()).expect("it takes it");
    stream
}

/// The status code and the document.
#[track_caller]
fn heard(mut stream: TcpStream) -> (u16, String) {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    let code = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    let (_, body) = answer.split_once("\r\n\r\n").expect("it has an end of its head");
    (code.expect("a status"), body.to_owned())
}

#[test]
fn a_silent_asker_a_length_beyond_memory_and_a_foreign_name_neither_hold_nor_end_a_node() {
    let Place { source, root, .. } = &alone();
    write(source, "segment", b"of them");
    let mut cluster = cluster(root, source, &[]);
    cluster.running.first_line();
    let pid = pids_of(&root.join("node-1/node.toml"))[0];
    let place = admin(root, 1);
    let post = format!("POST /v1/change HTTP/1.1\r\nHost: {place}\r\n");

    // 16 TiB: what read the rest of a refused body asked for all of it at once, and the process was aborted.
    let huge = heard(send(&place, &format!("{post}Content-Length: 17592186044416\r\n\r\n")));
    assert_eq!(huge.0, 413, "{}", huge.1);
    // Without the token nothing is waited for.
    let began = Instant::now();
    let stranger = heard(send(&place, &format!("{post}Content-Length: 1000\r\n\r\n")));
    assert_eq!(stranger.0, 401, "{}", stranger.1);
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());

    // Eight of these, and a body that does not come, had every thread that answered.
    let token = ringway::engine::admin_token(
        &std::fs::read_to_string(root.join("secret")).expect("the cluster's secret"),
    );
    let known = format!("{post}Authorization: Bearer {}\r\n", token.expect("it is one"));
    let held = || send(&place, &format!("{known}Content-Length: 1000\r\n\r\n"));
    let silent: Vec<_> = (0..32).map(|_| held()).collect();
    let began = Instant::now();
    let alive = heard(send(&place, &format!("GET /livez HTTP/1.1\r\nHost: {place}\r\n\r\n")));
    assert_eq!(alive.0, 200, "{}", alive.1);
    assert_eq!(ask(&["status", "--endpoint", &place])["ready"], true);
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    for stream in silent {
        assert_eq!(heard(stream).0, 408, "a request has five seconds");
    }

    // A page that a browser shows, under a name that its owner has bound to this address.
    for foreign in ["Host: evil.example", "Host: localhost\r\nOrigin: http://evil.example"] {
        let (code, body) = heard(send(&place, &format!("GET /v1/status HTTP/1.1\r\n{foreign}\r\n\r\n")));
        assert!(code == 403 && body.contains("error") && !body.contains("cluster"), "{code} {body}");
    }

    let silent: Vec<_> = (0..32).map(|_| held()).collect();
    terminated(pid, Duration::from_secs(4));
    drop(silent);
    cluster.stop();
}
