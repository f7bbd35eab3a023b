//! The bounds of a request's head, and of a connection.

use std::sync::Mutex;

use super::*;

const TOKEN: &str = "POST /v1/change HTTP/1.1\r\nHost: 127.0.0.1:80\r\nAuthorization: Bearer x\r\n";

fn get(headers: &str) -> String {
    format!("GET /livez HTTP/1.1\r\n{headers}\r\n")
}

#[track_caller]
fn refused(head: &str, code: u16) {
    assert_eq!(parse(head.as_bytes()).expect_err(head).0, code, "{head}");
}

#[test]
fn a_head_is_waited_for_and_its_body_begins_behind_it() {
    let whole = format!("{TOKEN}Content-Length: 3\r\n\r\nabc");
    let end = whole.len() - 3;
    for count in 0..end {
        assert!(parse(&whole.as_bytes()[..count]).expect("so far").is_none(), "{count}");
    }
    let (head, count) = parse(whole.as_bytes()).expect("good").expect("all there");
    assert_eq!((head.method.as_str(), head.target.as_str(), head.length), ("POST", "/v1/change", 3));
    assert_eq!((head.authorization.as_deref(), count), (Some("Bearer x"), end));
}

#[test]
fn lengths_that_are_missing_too_great_or_no_numbers_are_refused_before_a_body() {
    refused(&format!("{TOKEN}\r\n"), 411);
    refused(&format!("{TOKEN}Transfer-Encoding: chunked\r\n\r\n"), 501);
    refused(&format!("{TOKEN}Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n"), 501);
    for length in ["4194305", "17592186044416", "99999999999999999999999999"] {
        refused(&format!("{TOKEN}Content-Length: {length}\r\n\r\n"), 413);
    }
    for length in ["", "-1", "+1", "0x1", "1, 1", "1 1"] {
        refused(&format!("{TOKEN}Content-Length: {length}\r\n\r\n"), 400);
    }
    refused(&format!("{TOKEN}Content-Length: 1\r\nContent-Length: 1\r\n\r\n"), 400);
    assert!(parse(format!("{TOKEN}Content-Length: 4194304\r\n\r\n").as_bytes()).is_ok());
}

#[test]
fn heads_that_are_too_long_or_no_heads_are_refused() {
    let long = "x".repeat(HEAD_BYTES_MAX);
    refused(&get(&format!("Host: localhost\r\nX: {long}\r\n")), 431);
    refused(&format!("GET /{long}"), 431);
    refused(&get(&"A: b\r\n".repeat(HEADERS_MAX + 1)), 431);
    for head in ["\0\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/2.0\r\n\r\n", "GET / HTTP/1.1\r\n: x\r\n\r\n"] {
        refused(head, 400);
    }
}

#[test]
fn only_an_address_or_localhost_is_a_host_and_pages_are_not_answered() {
    let good =
        ["127.0.0.1", "127.0.0.1:80", "10.1.2.3:65535", "[::1]", "[fe80::1]:80", "localhost", "LOCALHOST:1"];
    for host in good {
        assert!(parse(get(&format!("Host: {host}\r\n")).as_bytes()).is_ok(), "{host}");
    }
    let bad = [
        "",
        "evil.example",
        "evil.example:80",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "127.0.0.1:evil",
        "127.0.0.1:80:80",
        "127.0.0.1@evil.example",
        "[evil.example]",
        "[::1].evil.example",
        "::1",
        "127.1",
    ];
    for host in bad {
        refused(&get(&format!("Host: {host}\r\n")), 403);
    }
    refused(&get("Host: 127.0.0.1\r\nOrigin: http://127.0.0.1\r\n"), 403);
    refused(&get("Host: 127.0.0.1\r\nOrigin: null\r\n"), 403);
    refused(&get(""), 400);
    refused(&get("Host: 127.0.0.1\r\nHost: evil.example\r\n"), 400);
    assert!(parse(b"GET /livez HTTP/1.0\r\n\r\n").is_ok(), "HTTP/1.0 knows no hosts");
}

fn serving(address: SocketAddr) -> Server {
    let serve = |request: Result<&mut Request<'_>, Refusal>| match request.and_then(|it| it.body()) {
        Ok(body) => Answer::json(200, body),
        Err((code, why)) => Answer::json(code, why),
    };
    Server::start(address, serve).expect("a port is free")
}

fn asked(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.write_all(request.as_bytes()).expect("it takes it");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}

#[test]
fn the_oldest_that_still_send_make_room_and_stopping_waits_for_none_of_them() {
    let server = serving(([127, 0, 0, 1], 0).into());
    let one = |_| TcpStream::connect(server.address()).expect("it listens");
    let mut silent: Vec<_> = (0..3 * 64).map(one).collect();
    for stream in &mut silent {
        let _shut_already = stream.write_all(TOKEN.as_bytes());
    }
    let answer = asked(server.address(), &format!("{TOKEN}Content-Length: 2\r\n\r\nhi"));
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nhi"), "{answer}");
    let began = Instant::now();
    let eldest = silent[0].read(&mut [0; 10]);
    assert!(!eldest.is_ok_and(|count| count > 0), "it was shut down without a word");
    drop(server);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[test]
fn an_asker_who_waits_to_be_told_is_told_and_one_that_says_too_much_hears_why() {
    let server = serving(([127, 0, 0, 1], 0).into());
    let answer =
        asked(server.address(), &format!("{TOKEN}Content-Length: 9\r\nExpect: 100-continue\r\n\r\n"));
    assert!(answer.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 408"), "{answer}");
    let much = "x".repeat(100_000);
    let answer = asked(server.address(), &format!("{TOKEN}Content-Length: 5000000\r\n\r\n{much}"));
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[test]
fn where_all_are_being_answered_the_next_is_turned_away_and_stopping_lets_them_end() {
    let (began, gate) = (Arc::new(Mutex::new(0)), Arc::new(Mutex::new(())));
    let (counted, closed) = (Arc::clone(&began), Arc::clone(&gate));
    let serve = move |request: Result<&mut Request<'_>, Refusal>| {
        if let Err((code, why)) = request {
            return Answer::json(code, why);
        }
        *counted.lock().expect("nobody panics") += 1;
        drop(closed.lock());
        Answer::json(200, "late".to_owned())
    };
    let server = Server::start(([127, 0, 0, 1], 0).into(), serve).expect("a port is free");
    let address = server.address();
    let held = gate.lock().expect("nobody panics");
    let one = move |_| thread::spawn(move || asked(address, &get("Host: localhost\r\n")));
    let askers: Vec<_> = (0..64).map(one).collect();
    while *began.lock().expect("nobody panics") < 64 {
        thread::sleep(Duration::from_millis(5));
    }
    let answer = asked(address, &get("Host: localhost\r\n"));
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("\r\nRetry-After: 1\r\n"), "{answer}");
    let stopped = thread::spawn(move || drop(server));
    thread::sleep(Duration::from_millis(50));
    assert!(!stopped.is_finished(), "those being answered are waited for");
    drop(held);
    for asker in askers {
        assert!(asker.join().expect("it is answered").ends_with("late"));
    }
    stopped.join().expect("it ends");
}
