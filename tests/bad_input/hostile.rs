//! A source that lies about paths, and a destination that leads elsewhere.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ringway::auth::{Secret, SecretSet};
use ringway::engine::PullError;
use ringway::ids::{ClusterId, GroupId, Incarnation, Nanos, NodeId};
use ringway::limits::CHUNK_BYTES;
use ringway::transport::{Peer, RefusedCode, Transport, TransportOptions};
use ringway::uring::{Core, KernelOptions, KernelRing, Priority, Turn};
use ringway::wire::{Body, Class, Cursor, FetchRefused, ListReply, Purpose, Refusal};

use crate::binary::{content, errors, files, pull, secret, serve, write};
use crate::disk::Disk;
use crate::tools::{finish, pulled, refused};

const SOON: Duration = Duration::from_secs(40);

/// To the request of this number, from 1: a page and the place of the next, nothing behind the last; or no page at all.
type Answers = Box<dyn Fn(u64) -> Option<(Vec<u8>, Vec<u8>)> + Send>;

/// A page of files of these paths and sizes.
fn page(files: &[(&[u8], u64)]) -> Vec<u8> {
    let mut page = 0_u32.to_le_bytes().to_vec();
    for (path, bytes) in files {
        page.extend_from_slice(&u32::try_from(path.len()).expect("short").to_le_bytes());
        page.extend_from_slice(path);
        page.extend_from_slice(&bytes.to_le_bytes());
        page.extend_from_slice(&[7; 32]);
    }
    page
}

/// A source with the right secret that answers with pages, whatever is in them.
struct Liar {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Liar {
    /// It lists one path.
    fn start(secret: &Path, path: &[u8], bytes: u64) -> Self {
        let page = page(&[(path, bytes)]);
        Self::answering(secret, Box::new(move |_| Some((page.clone(), Vec::new()))))
    }

    fn answering(secret: &Path, answers: Answers) -> Self {
        let text = fs::read(secret).expect("ours");
        let stop = Arc::new(AtomicBool::new(false));
        let (tell, told) = mpsc::channel();
        let theirs = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let ring = KernelRing::open(KernelOptions::default()).expect("io_uring");
            let core = Core::new(Box::new(ring), 8, CHUNK_BYTES);
            drop(core.spawn(Priority::Urgent, lie(text, answers, tell)));
            while !theirs.load(Ordering::Relaxed) {
                if let Turn::Park(_) = core.turn() {
                    core.park(Some(core.now().plus(Nanos::from_millis(10))));
                }
            }
            core.shut_down();
        });
        let address = told.recv_timeout(Duration::from_secs(10)).expect("it listens");
        Self { address, stop, thread: Some(thread) }
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

async fn lie(secret: Vec<u8>, answers: Answers, tell: mpsc::Sender<SocketAddr>) {
    let secrets = SecretSet::new(Secret::parse(&secret).expect("a secret"), None);
    let cluster = ClusterId(*b"ringway-point-v1");
    let life = Incarnation([3; 16]);
    let transport = Transport::new(TransportOptions::new(Some(cluster), Some(NodeId(1)), life, secrets));
    let mut incoming = transport.incoming();
    let address = transport.listen(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("loopback");
    tell.send(address).expect("the test waits");
    while let Some(next) = incoming.receive().await {
        let (mut stream, mut place) = (next.stream, 0_u64);
        while let Ok(message) = stream.receive().await {
            let Ok(Body::ListPage(ask)) = message.decode() else { break };
            place += 1;
            let request = ask.request;
            let sent = match answers(place) {
                Some((page, next)) => {
                    let (end, next) = (next.is_empty(), Cursor(&next));
                    stream.send(ListReply { request, end, entries: &page, next }).await
                }
                None => stream.send(FetchRefused { request, code: Refusal::NotHere }).await,
            };
            if sent.is_err() {
                break;
            }
        }
    }
}

#[test]
fn m3_a_listed_path_that_leads_out_of_the_destination_is_refused_and_nothing_is_written() {
    let dir = tempfile::tempdir().expect("a directory");
    let secret = secret(dir.path(), "secret");
    let long = vec![b'a'; 256];
    let paths: [&[u8]; 11] = [
        b"../escaped",
        b"a/../../escaped",
        b"/etc/escaped",
        b"./here",
        b"a//b",
        b".ringway/inventory",
        b".ringway",
        b"nul\0byte",
        b"new\nline",
        b"not utf-8 \xff",
        &long,
    ];
    for (number, path) in paths.into_iter().enumerate() {
        let dest = dir.path().join(format!("below/dest-{number}"));
        let liar = Liar::start(&secret, path, 5);
        let output = finish(&mut pull(liar.address, &dest, &secret, &[]), SOON);
        refused(&output, 1, "the source lists the path");
        assert!(!dest.join(".ringway").exists() && files(&dest).is_empty(), "{:?}", files(&dest));
    }
    let liar = Liar::start(&secret, b"huge", u64::MAX);
    let dest = dir.path().join("below/huge");
    let output = finish(&mut pull(liar.address, &dest, &secret, &[]), SOON);
    refused(&output, 1, "the source lists a file of");
    assert!(!dir.path().join("escaped").exists() && !dir.path().join("below/escaped").exists());
    assert!(!Path::new("/etc/escaped").exists());
}

/// Once the pull asked for page after page, for ever.
#[test]
fn a_list_of_empty_pages_without_an_end_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let secret = secret(dir.path(), "secret");
    let empty = |place: u64| Some((page(&[]), place.to_be_bytes().to_vec()));
    let liar = Liar::answering(&secret, Box::new(empty));
    let output = finish(&mut pull(liar.address, &dir.path().join("dest"), &secret, &[]), SOON);
    refused(&output, 1, "the source's list has no end");
}

#[test]
fn a_list_that_nobody_can_have_is_an_error_of_its_own_whichever_way_it_is_bad() {
    fn liar(secret: &Path, answers: impl Fn(u64) -> Option<(Vec<u8>, Vec<u8>)> + Send + 'static) -> Liar {
        Liar::answering(secret, Box::new(answers))
    }
    let dir = tempfile::tempdir().expect("a directory");
    let secret = secret(dir.path(), "secret");
    let last = |page: Vec<u8>| move |_| Some((page.clone(), Vec::new()));
    let name = |place: u64| format!("{place:03}");
    let cases = [
        (Liar::start(&secret, b"a/../b", 5), "lists the path"),
        (Liar::start(&secret, b"huge", (1 << 40) + 1), "a file of 1099511627777 bytes"),
        (liar(&secret, last(vec![1, 2])), "does not decode"),
        (liar(&secret, last(page(&[(b"b", 1), (b"a", 1)]))), "behind a path that follows it"),
        (
            liar(&secret, |place| Some((page(&[(b"a", 1)]), vec![place as u8]))),
            "behind a path that follows it",
        ),
        (liar(&secret, |place| Some((page(&[]), vec![place as u8]))), "has no end"),
        (liar(&secret, move |place| Some((page(&[(name(place).as_bytes(), 1)]), vec![9]))), "goes round"),
        (liar(&secret, |_| None), "something else"),
    ];
    for (number, (liar, words)) in cases.into_iter().enumerate() {
        let dest = dir.path().join(format!("dest-{number}"));
        match pulled(liar.address, &dest, &secret) {
            Err(PullError::List { why }) => assert!(why.contains(words), "{words:?} is not in: {why}"),
            other => panic!("{words:?}: {other:?}"),
        }
        assert!(files(&dest).is_empty(), "{words}: {:?}", files(&dest));
    }
}

/// Once whoever has the secret could be another peer, with bounds of its own, as often as it liked.
#[test]
fn a_served_directory_is_for_pullers_and_not_for_whoever_says_that_it_is_a_node() {
    let dir = tempfile::tempdir().expect("a directory");
    let source = dir.path().join("source");
    write(&source, "file", &content(1, 3000));
    let secret = secret(dir.path(), "secret");
    let (_serve, address) = serve(&source, &secret, &dir.path().join("cache"));
    let refusal = |node: Option<NodeId>| {
        let ring = KernelRing::open(KernelOptions::default()).expect("io_uring");
        let core = Core::new(Box::new(ring), 8, CHUNK_BYTES);
        let secrets = SecretSet::new(Secret::parse(&fs::read(&secret).expect("ours")).expect("one"), None);
        let (told, answer) = mpsc::channel();
        drop(core.spawn(Priority::Urgent, async move {
            let cluster = Some(ClusterId(*b"ringway-point-v1"));
            let transport =
                Transport::new(TransportOptions::new(cluster, node, Incarnation([3; 16]), secrets));
            let peer = Peer { node: Some(NodeId(1)), address };
            let opened = transport.open_stream(peer, GroupId(0), Class::Bulk, Purpose::Transfer).await;
            told.send(opened.map(drop).map_err(|error| error.refusal())).expect("the test waits");
        }));
        let begun = Instant::now();
        let answer = loop {
            if let Turn::Park(_) = core.turn() {
                core.park(Some(core.now().plus(Nanos::from_millis(10))));
            }
            match answer.try_recv() {
                Ok(answer) => break answer,
                Err(_) => assert!(begun.elapsed() < SOON, "it neither opens nor refuses"),
            }
        };
        core.shut_down();
        answer
    };
    assert_eq!(refusal(Some(NodeId(7))), Err(Some(RefusedCode::Role)));
    assert_eq!(refusal(None), Ok(()));
}

#[test]
fn m3_a_link_in_the_destination_is_not_followed_out_of_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let (source, dest) = (dir.path().join("source"), dir.path().join("dest"));
    let outside = dir.path().join("outside");
    for path in ["linked/file", "plain/file", "linked-file"] {
        write(&source, path, &content(1, 3000));
    }
    fs::create_dir_all(&outside).expect("made");
    fs::create_dir_all(&dest).expect("made");
    write(dir.path(), "target", b"not ours");
    symlink(&outside, dest.join("linked")).expect("made");
    symlink(dir.path().join("target"), dest.join("linked-file")).expect("made");
    let secret = secret(dir.path(), "secret");
    let (_serve, address) = serve(&source, &secret, &dir.path().join("cache"));
    let output = finish(&mut pull(address, &dest, &secret, &[]), SOON);
    refused(&output, 1, "linked/file");
    assert!(fs::read_dir(&outside).expect("readable").next().is_none(), "nothing outside");
    assert_eq!(fs::read(dir.path().join("target")).expect("there"), b"not ours");
    assert_eq!(fs::read(dest.join("plain/file")).expect("what could be had is there"), content(1, 3000));
}

#[test]
fn a_destination_that_is_a_file_or_cannot_be_written_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let (source, dest) = (dir.path().join("source"), dir.path().join("dest"));
    write(&source, "file", &content(1, 3000));
    write(dir.path(), "plain", b"a file");
    let secret = secret(dir.path(), "secret");
    let (_serve, address) = serve(&source, &secret, &dir.path().join("cache"));
    let into = |dest: &Path| finish(&mut pull(address, dest, &secret, &[]), SOON);
    refused(&into(&dir.path().join("plain")), 1, "plain");
    refused(&into(&dir.path().join("plain/below")), 1, "plain/below");
    refused(&into(Path::new("/proc/ringway")), 1, "/proc/ringway");
    assert_eq!(fs::read(dir.path().join("plain")).expect("there"), b"a file");
    let Some(disk) = Disk::mount(&dest, 8) else { return };
    disk.read_only();
    let output = into(&dest);
    refused(&output, 1, "dest");
    assert!(errors(&output).contains("ead-only"), "{}", errors(&output));
}
