//! The simulator answers as the kernel does: the same program on both, the same answers.

use std::os::unix::fs::symlink;

use ringway::ids::Nanos;
use ringway::uring::{
    Buffer, Core, Dir, Errno, File, FileKind, KernelOptions, KernelRing, Listener, OpenOptions, Socket,
    SocketOptions, Stat, Turn, sleep,
};

use crate::sim::{Chance, Sim, SimOptions};

const READ: OpenOptions =
    OpenOptions { write: false, create: false, exclusive: false, direct: false, directory: false };
const WRITE: OpenOptions = OpenOptions { write: true, ..READ };
const NEW: OpenOptions = OpenOptions { create: true, ..WRITE };
const ONLY_NEW: OpenOptions = OpenOptions { exclusive: true, ..NEW };

/// Answers by the name of their question.
#[derive(Default)]
struct Answers(Vec<String>);

impl Answers {
    fn add<T: std::fmt::Debug>(&mut self, what: &str, answer: Result<T, Errno>) {
        let answer = answer.map_err(|errno| std::io::Error::from_raw_os_error(errno.0).to_string());
        self.0.push(format!("{what}: {answer:?}"));
    }
}

async fn write(file: &File, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
    file.write_at(Buffer::from_bytes(bytes), 0..bytes.len(), offset).await.0
}

async fn read(file: &File, offset: u64, len: usize) -> Result<Vec<u8>, Errno> {
    let (count, buffer) = file.read_at(Buffer::heap(len), 0..len, offset).await;
    Ok(buffer.memory()[..count?].to_vec())
}

async fn opens(root: &Dir, answers: &mut Answers) {
    let long = "n".repeat(256);
    let paths =
        ["", "absent", "absent/x", "/etc", "..", "sub/../file", "sub/../../x", "link", "link/x", "file/x"];
    let others = ["file/", "sub/", "sub/.", "./file", "sub//inner", "fifo", "dangling", &long, "."];
    for path in paths.into_iter().chain(others) {
        answers.add(&format!("open {path:.20}"), root.open(path, READ).await.map(|_| ()));
        answers.add(&format!("open for writing {path:.20}"), root.open(path, WRITE).await.map(|_| ()));
        answers.add(&format!("create anew {path:.20}"), root.open(path, ONLY_NEW).await.map(|_| ()));
        answers.add(&format!("open directory {path:.20}"), root.open_dir(path).await.map(|_| ()));
    }
}

/// Facts about several names at a time.
async fn many_names(root: &Dir, a: &Dir, answers: &mut Answers) {
    let long = "n".repeat(256);
    for (what, dir, names) in [
        ("files", a, &["one", "absent", &long, "two"][..]),
        ("kinds", root, &["a", "link", "fifo"]),
        ("no name", a, &["one", "x/y"]),
        ("none", a, &[]),
    ] {
        let fact = |stat: Stat| (stat.kind, (stat.kind == FileKind::Regular).then_some(stat.bytes));
        let stats = dir.stat_names(names).await;
        let facts = stats.map(|stats| stats.into_iter().map(|stat| stat.map(fact)).collect::<Vec<_>>());
        answers.add(&format!("many: {what}"), facts);
    }
}

async fn names(root: &Dir, answers: &mut Answers) -> Result<(), Errno> {
    let (a, b) = (root.make_dir("a").await?, root.make_dir("b").await?);
    root.make_dir("c").await?;
    write(&a.open("one", NEW).await?, 0, b"1").await?;
    write(&a.open("two", NEW).await?, 0, b"22").await?;
    answers.add("make again", root.make_dir("a").await.map(|_| ()));
    for (what, room) in [("without room", 0), ("with room", 12_288)] {
        let made = a.create(what, false, room).await;
        answers.add(&format!("create {what}"), made.as_ref().map(|_| ()).map_err(|errno| *errno));
        answers
            .add("its facts", made?.stat().await.map(|stat| (stat.bytes, stat.links, stat.kind, stat.mode)));
        answers.add("create again", a.create(what, false, room).await.map(|_| ()));
        answers.add("its name", a.stat_name(what).await.map(|stat| stat.bytes));
        a.remove(what).await?;
    }
    for name in ["", ".", "..", "x/y", "one", &"n".repeat(256)] {
        answers.add(&format!("create {name:.20}"), a.create(name, false, 1).await.map(|_| ()));
    }
    answers.add("create over a directory", root.create("b", false, 1).await.map(|_| ()));
    answers.add("make over a file", a.make_dir("one").await.map(|_| ()));
    answers.add("link", a.link("one", &b, "linked").await);
    answers.add("link again", a.link("one", &b, "linked").await);
    answers.add("link absent", a.link("absent", &b, "x").await);
    answers.add("link a directory", root.link("a", &b, "x").await);
    answers.add("links", a.stat_name("one").await.map(|stat| (stat.links, stat.bytes, stat.kind, stat.mode)));
    answers.add("directory", root.stat_name("a").await.map(|stat| (stat.kind, stat.mode)));
    answers.add("symlink", root.stat_name("link").await.map(|stat| stat.kind));
    answers.add("fifo", root.stat_name("fifo").await.map(|stat| stat.kind));
    many_names(root, &a, answers).await;
    answers.add("rename to its other name", a.rename("one", &b, "linked").await);
    answers.add("both stay", a.stat_name("one").await.map(|stat| stat.links));
    answers.add("rename over", a.rename("two", &b, "linked").await);
    answers.add("rename over leaves", a.stat_name("one").await.map(|stat| stat.links));
    answers.add("rename absent", a.rename("two", &b, "x").await);
    answers.add("file over directory", a.rename("one", root, "c").await);
    answers.add("directory over file", root.rename("c", &a, "one").await);
    answers.add("directory over full one", root.rename("c", root, "a").await);
    answers.add("directory over empty one", {
        root.make_dir("d").await?;
        root.rename("c", root, "d").await
    });
    answers.add("directory into itself", root.rename("a", &a, "inside").await);
    answers.add("rename to a taken name", a.rename_new("one", &b, "linked").await);
    answers.add("rename to a directory's name", a.rename_new("one", root, "c").await);
    answers.add("rename absent to a free name", a.rename_new("absent", &b, "new").await);
    answers.add("rename to a free name", b.rename_new("linked", &b, "new").await);
    answers.add("exchange with absent", b.exchange("new", &a, "absent").await);
    write(&b.open("three", NEW).await?, 0, b"333").await?;
    answers.add("exchange", b.exchange("new", root, "file").await);
    answers.add("exchanged", root.stat_name("file").await.map(|stat| stat.bytes));
    answers.add("exchange back", root.exchange("file", &b, "new").await);
    answers.add("exchange in one folder", b.exchange("new", &b, "three").await);
    answers.add("exchanged in one folder", b.stat_name("new").await.map(|stat| (stat.bytes, stat.links)));
    answers.add("exchange with a directory", b.exchange("new", root, "a").await);
    answers.add("exchanged with it", root.stat_name("a").await.map(|stat| stat.kind));
    answers.add("exchange back again", b.exchange("new", root, "a").await);
    answers.add("exchange with the own folder", root.exchange("b", &b, "new").await);
    answers.add("unlink a directory", root.unlink("a").await);
    answers.add("unlink absent", root.unlink("absent").await);
    answers.add("remove a full directory", root.remove_dir("a").await);
    answers.add("remove a file", a.remove_dir("one").await);
    answers.add("remove", root.remove_dir("d").await);
    answers.add("list", root.list().await);
    answers.add("sync directory", root.sync().await);
    Ok(())
}

async fn contents(root: &Dir, answers: &mut Answers) -> Result<(), Errno> {
    let file = root.open("content", NEW).await?;
    answers.add("read empty", read(&file, 0, 10).await);
    answers.add("write beyond the end", write(&file, 5000, b"tail").await);
    answers.add("the hole is zeros", read(&file, 4990, 100).await);
    answers.add("read beyond", read(&file, 6000, 10).await);
    file.truncate(5002).await?;
    file.truncate(5010).await?;
    answers.add("cut bytes are zeros", read(&file, 4998, 100).await);
    answers.add("allocate", file.allocate(9000).await);
    answers.add("size", file.stat().await.map(|stat| stat.bytes));
    answers.add("allocate less", file.allocate(100).await);
    answers.add("size stays", file.stat().await.map(|stat| stat.bytes));
    answers.add("sync", file.sync_data().await);
    answers.add("map", file.map().await.map(|map| (map.len(), map[5001], map[5003])));
    let reader = root.open("content", READ).await?;
    answers.add("write to a reader", write(&reader, 0, b"x").await);
    answers.add("truncate a reader", reader.truncate(0).await);
    answers.add("allocate a reader", reader.allocate(10_000).await);
    answers.add("lock", file.lock().await);
    answers.add("lock again", file.lock().await);
    answers.add("lock from elsewhere", reader.lock().await);
    root.unlink("content").await?;
    answers.add("unlinked and open", read(&file, 5000, 3).await);
    answers.add("links of an unlinked", file.stat().await.map(|stat| stat.links));
    Ok(())
}

async fn receive(socket: &Socket, len: usize) -> Result<Vec<u8>, Errno> {
    let (count, buffer) = socket.receive_all(Buffer::heap(len), 0..len).await;
    Ok(buffer.memory()[..count?].to_vec())
}

async fn send(socket: &Socket, bytes: &[u8]) -> Result<(), Errno> {
    socket.send_all(Buffer::from_bytes(bytes), 0..bytes.len(), false).await.0
}

async fn pair(listener: &Listener) -> Result<(Socket, Socket), Errno> {
    let dialler = Socket::connect(listener.address(), SocketOptions::default()).await?;
    Ok((dialler, listener.accept().await?.0))
}

async fn sockets(answers: &mut Answers) -> Result<(), Errno> {
    let listener = Listener::bind("127.0.0.1:0".parse().expect("an address"), 8).await?;
    let wait = || sleep(Nanos::from_millis(30));
    let address = listener.address();
    answers.add("a taken port", Listener::bind(address, 8).await.map(|_| ()));
    let (one, two) = pair(&listener).await?;
    send(&one, b"hello").await?;
    one.shut_down().await;
    answers.add("bytes before the end", receive(&two, 100).await);
    answers.add("the end", receive(&two, 100).await);
    answers.add("send after shutting down", send(&one, b"x").await);
    answers.add("receive after shutting down", receive(&one, 1).await);
    let (one, two) = pair(&listener).await?;
    drop(one);
    wait().await;
    answers.add("send to a closed peer", send(&two, b"x").await);
    wait().await;
    answers.add("send again", send(&two, b"x").await);
    let (one, two) = pair(&listener).await?;
    send(&one, b"never read").await?;
    wait().await;
    drop(two);
    wait().await;
    answers.add("receive from a peer that left bytes unread", receive(&one, 1).await);
    let (one, _two) = pair(&listener).await?;
    let zero = one.send_zero_copy(Buffer::from_bytes(b"zero"), 0..4).await.0;
    answers.add("zero-copy send on loopback says that it copied", zero);
    drop(listener);
    wait().await;
    answers.add("nobody listens", Socket::connect(address, SocketOptions::default()).await.map(|_| ()));
    Ok(())
}

async fn program(path: String) -> Vec<String> {
    let mut answers = Answers::default();
    let root = Dir::open_root(&path).await;
    answers.add("open a file as root", Dir::open_root(&format!("{path}/file")).await.map(|_| ()));
    answers.add("open an absent root", Dir::open_root(&format!("{path}/absent")).await.map(|_| ()));
    answers.add("open a root through a link", Dir::open_root(&format!("{path}/link")).await.map(|_| ()));
    let root = root.expect("the root is there");
    opens(&root, &mut answers).await;
    names(&root, &mut answers).await.expect("nothing is broken");
    contents(&root, &mut answers).await.expect("nothing is broken");
    sockets(&mut answers).await.expect("nothing is broken");
    answers.0
}

fn kernel() -> Option<Vec<String>> {
    let ring = KernelRing::open(KernelOptions::default()).ok()?;
    let core = Core::new(Box::new(ring), 4, 64 * 1024);
    let dir = tempfile::tempdir().expect("a directory for the test");
    let at = |name: &str| dir.path().join(name);
    std::fs::create_dir(at("sub")).expect("in an empty directory");
    std::fs::write(at("file"), b"f").expect("in an empty directory");
    std::fs::write(at("sub/inner"), b"i").expect("in an empty directory");
    symlink("sub", at("link")).expect("in an empty directory");
    symlink("nowhere", at("dangling")).expect("in an empty directory");
    let made = std::process::Command::new("mkfifo").arg(at("fifo")).status();
    assert!(made.is_ok_and(|status| status.success()), "mkfifo");
    let place = std::rc::Rc::new(std::cell::RefCell::new(None));
    let theirs = std::rc::Rc::clone(&place);
    let path = dir.path().to_str().expect("a plain path").to_owned();
    let task = core.spawn(ringway::uring::Priority::Urgent, async move {
        let answers = program(path).await;
        theirs.replace(Some(answers));
    });
    while !task.is_ended() {
        if let Turn::Park(deadline) = core.turn()
            && !task.is_ended()
        {
            core.park(deadline);
        }
    }
    core.shut_down();
    place.take()
}

fn simulated(seed: u64) -> Vec<String> {
    let mut options = SimOptions::small();
    options.net.loss = Chance::NEVER;
    let mut sim = Sim::new(seed, options);
    let node = sim.node(1);
    {
        let disk = &mut sim.host(node).disk;
        disk.plant_dir("/data/sub");
        disk.plant_file("/data/file", b"f");
        disk.plant_file("/data/sub/inner", b"i");
        disk.plant_symlink("/data/link", "sub");
        disk.plant_symlink("/data/dangling", "nowhere");
        disk.plant_fifo("/data/fifo");
    }
    let core = sim.core(node, 0);
    sim.block_on(&core, program("/data".to_owned()))
}

#[test]
fn the_simulator_answers_as_the_kernel_does() {
    let Some(kernel) = kernel() else {
        println!("skipped: this machine has no io_uring");
        return;
    };
    for seed in 1..=5 {
        let simulated = simulated(seed);
        let pairs = kernel.iter().zip(&simulated);
        let differ: Vec<_> = pairs.filter(|(kernel, simulated)| kernel != simulated).collect();
        assert!(differ.is_empty(), "(kernel, simulator): {differ:#?}");
        assert_eq!(kernel.len(), simulated.len());
    }
}
