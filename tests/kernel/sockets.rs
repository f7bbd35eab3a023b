//! Connections over loopback.

use std::net::SocketAddr;

use ringway::ids::Nanos;
use ringway::uring::{
    Buffer, Congestion, Core, Errno, Extent, File, Listener, OpenOptions, Priority, Socket, SocketOptions,
    sleep, timeout,
};

use super::{on_core, open, scratch};

fn any() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// Two ends of one connection.
pub async fn pair(core: &Core) -> (Socket, Socket) {
    let listener = Listener::bind(any(), 16).await.expect("loopback");
    let address = listener.address();
    let dialled = core.spawn(Priority::Urgent, Socket::connect(address, SocketOptions::default()));
    let (accepted, from) = listener.accept().await.expect("a dial is under way");
    let dialled = dialled.await.expect("not aborted").expect("somebody listens");
    assert_eq!(from.ip(), address.ip());
    (dialled, accepted)
}

#[test]
fn a_span_is_sent_whole_and_received_whole() {
    on_core(|core| async move {
        let (one, two) = pair(&core).await;
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|index| (index % 251) as u8).collect();
        let sent = Buffer::from_bytes(&bytes);
        let length = bytes.len();
        let sending = core.spawn(Priority::Bulk, async move {
            let (result, _) = one.send_all(sent, 0..length, false).await;
            result.expect("the other end receives");
            one
        });
        let (count, got) = two.receive_all(Buffer::heap(length), 0..length).await;
        assert_eq!(count, Ok(length));
        assert!(got.memory()[..length] == bytes, "the same bytes in the same order");
        let one = sending.await.expect("not aborted");
        one.shut_down().await;
        let (count, got) = two.receive(got, 0..10).await;
        assert_eq!(count, Ok(0), "the end");
        let (result, _) = two.send_all(got, 0..10, false).await;
        let again = two.send_all(Buffer::heap(10), 0..10, false).await.0;
        assert!(result.is_err() || again.is_err(), "the other end is gone");
    });
}

#[test]
fn a_zero_copy_send_gives_its_buffer_back_after_its_notification() {
    on_core(|core| async move {
        if !core.probe().uses("zero-copy send") {
            return super::skip("zero-copy send");
        }
        let (one, two) = pair(&core).await;
        let mut buffer = core.slab().take().await;
        buffer.memory_mut().fill(9);
        let receiving =
            core.spawn(Priority::Urgent, async move { two.receive_all(Buffer::heap(65536), 0..65536).await });
        let (copied, buffer) = one.send_zero_copy(buffer, 0..65536).await;
        assert_eq!(copied, Ok(true), "loopback always copies");
        assert_eq!(core.slab().free(), 7);
        drop(buffer);
        assert_eq!(core.slab().free(), 8);
        let (count, got) = receiving.await.expect("not aborted");
        assert_eq!(count, Ok(65536));
        assert!(got.memory()[..65536].iter().all(|byte| *byte == 9));
        one.shut_down().await;
        let (result, _) = one.send_zero_copy(Buffer::heap(1), 0..1).await;
        assert_eq!(result, Err(Errno::BROKEN_PIPE));
    });
}

#[test]
fn nobody_at_the_address_and_an_address_in_use_are_errors() {
    on_core(|_| async move {
        let listener = Listener::bind(any(), 16).await.expect("loopback");
        let taken = Listener::bind(listener.address(), 16).await.map(|_| ());
        assert_eq!(taken, Err(Errno::ADDRESS_IN_USE));
        let address = listener.address();
        drop(listener);
        sleep(Nanos::from_millis(20)).await;
        let refused = Socket::connect(address, SocketOptions::default()).await.map(|_| ());
        assert_eq!(refused, Err(Errno::REFUSED));
        let again = Listener::bind(address, 16).await.expect("the address is free again at once");
        assert_eq!(again.address(), address);
    });
}

/// A file of `bytes`, open.
async fn file_of(folder: &tempfile::TempDir, bytes: &[u8]) -> File {
    std::fs::write(folder.path().join("file"), bytes).expect("the folder is ours");
    open(folder).await.open("file", OpenOptions::default()).await.expect("it was just written")
}

#[test]
fn an_extent_is_sent_whole_out_of_the_page_cache_to_one_who_reads_late() {
    let folder = scratch();
    on_core(|core| async move {
        let (one, two) = pair(&core).await;
        let bytes: Vec<u8> = (0..24_000_000_u32).map(|index| (index % 251) as u8).collect();
        let file = file_of(&folder, &bytes).await;
        let (offset, length) = (4097, bytes.len() - 4097);
        let extent = file.cached(offset, length).await.expect("what was just written is in the page cache");
        let sending = core.spawn(Priority::Bulk, async move { (one.send_extent(&extent).await, one) });
        sleep(Nanos::from_millis(50)).await;
        assert!(!sending.is_ended(), "no connection takes that much unread: it waits for room");
        let (count, got) = two.receive_all(Buffer::heap(length), 0..length).await;
        assert_eq!(count, Ok(length));
        assert!(got.memory()[..length] == bytes[offset as usize..]);
        let (sent, one) = sending.await.expect("not aborted");
        assert_eq!(sent, Ok(true));
        let back = core.spawn(Priority::Bulk, async move { one.receive(Buffer::heap(5), 0..5).await.0 });
        sleep(Nanos::from_millis(20)).await;
        assert!(!back.is_ended(), "a receive on it still waits");
        two.send_all(Buffer::from_bytes(b"after"), 0..5, false).await.0.expect("connected");
        assert_eq!(back.await, Some(Ok(5)));
    });
}

#[test]
fn an_extent_beyond_its_file_or_to_a_peer_that_left_is_told() {
    let folder = scratch();
    on_core(|core| async move {
        let (one, two) = pair(&core).await;
        let file = file_of(&folder, &[7; 100_000]).await;
        assert!(file.cached(50_000, 60_000).await.is_none(), "not all of it is there");
        let extent = |bytes| Extent { file: file.clone(), offset: 50_000, bytes };
        assert_eq!(one.send_extent(&extent(60_000)).await, Ok(false));
        one.shut_down().await;
        assert_eq!(one.send_extent(&extent(50_000)).await, Err(Errno::BROKEN_PIPE));
        drop(two);
    });
}

#[test]
fn one_who_waits_for_room_for_an_extent_gives_up_and_is_freed() {
    let folder = scratch();
    on_core(|core| async move {
        let (one, two) = pair(&core).await;
        let extent =
            file_of(&folder, &vec![7; 24_000_000]).await.cached(0, 24_000_000).await.expect("cached");
        let sent = timeout(Nanos::from_millis(50), one.send_extent(&extent)).await;
        assert!(sent.is_err(), "nobody reads");
        drop((one, two));
    });
}

#[test]
fn congestion_control_is_set_where_the_system_has_it() {
    on_core(|core| async move {
        let listener = Listener::bind(any(), 16).await.expect("loopback");
        for (name, congestion) in [("cubic", Congestion::Cubic), ("bbr", Congestion::Bbr)] {
            if !core.probe().uses(name) {
                super::skip(name);
            }
            let options = SocketOptions { congestion: Some(congestion) };
            let socket = Socket::connect(listener.address(), options).await.expect("somebody listens");
            drop(socket);
        }
    });
}

#[test]
fn a_connection_moves_to_another_core() {
    let (give, take) = std::sync::mpsc::channel();
    let other = std::thread::spawn(move || {
        on_core(|_| async move {
            let loose = take.recv().expect("the first core gives it");
            let socket = Socket::adopt(loose);
            let (result, _) = socket.send_all(Buffer::from_bytes(b"moved"), 0..5, false).await;
            result.expect("connected");
        });
    });
    on_core(|core| async move {
        let (one, two) = pair(&core).await;
        give.send(one.release()).expect("the other thread waits");
        let (count, got) = two.receive_all(Buffer::heap(5), 0..5).await;
        assert_eq!(count, Ok(5));
        assert_eq!(&got.memory()[..5], b"moved");
        let (count, _) = two.receive(got, 0..1).await;
        assert_eq!(count, Ok(0), "the other core closed it when it ended");
    });
    other.join().expect("the other core ends well");
}

#[test]
fn waits_for_a_peer_end_with_their_time_limit() {
    on_core(|core| async move {
        let (one, _two) = pair(&core).await;
        let limit = Nanos::from_millis(30);
        let before = core.now();
        assert!(timeout(limit, one.receive(Buffer::heap(1), 0..1)).await.is_err());
        let listener = Listener::bind(any(), 1).await.expect("loopback");
        assert!(timeout(limit, listener.accept()).await.is_err());
        let passed = core.now().since(before);
        assert!(passed >= Nanos::from_millis(60) && passed < Nanos::from_secs(5), "{passed}");
    });
}
