//! Sending out of the page cache: at once, as far as the connection has room, and waiting for room.

use ringway::uring::{Errno, Outcome};

use super::super::job::Ask;
use super::super::world::World;
use super::Segment;

impl World {
    /// Sends a part of a file that has room, at least a byte; by chance there is none, as it may be at any time.
    pub(super) fn send_file(&mut self, id: u64, conn: u64, side: usize) -> Result<usize, Errno> {
        let largest = self.options.net.segment_bytes_max;
        let Self { net, jobs, rng, nodes, .. } = self;
        let Some(job) = jobs.get(&id) else { return Err(Errno::BAD_DESCRIPTOR) };
        let Ask::SendFile { file, offset, bytes, .. } = job.ask else { unreachable!("a send of a file") };
        let end = &mut net.conns.get_mut(&conn).ok_or(Errno::BAD_DESCRIPTOR)?.ends[side];
        if end.reset || end.shut {
            return Err(if end.tell_reset() { Errno::RESET } else { Errno::BROKEN_PIPE });
        }
        assert!(end.sends.is_empty(), "node {} has two sends at once on one connection", end.node);
        let room = end.room().min(bytes);
        if room == 0 || rng.below(4) == 0 {
            return Err(Errno::AGAIN);
        }
        let mut memory = vec![0; rng.within(1..=room as u64) as usize];
        let node = nodes.get_mut(&job.key.node).expect("a core has a node");
        let inode = node.inode(file)?;
        let count = node.disk.content(inode)?.read(offset, &mut memory, false)?;
        end.sent += count as u64;
        for part in memory[..count].chunks(largest) {
            self.transmit(conn, side, Segment::Bytes(part.to_vec()));
        }
        Ok(count)
    }

    /// Tells those who wait for room that there is some, or that nothing can be sent any more.
    pub(super) fn pump_rooms(&mut self, conn: u64, side: usize) {
        let Some(end) = self.net.conns.get_mut(&conn).map(|conn| &mut conn.ends[side]) else { return };
        if end.room() == 0 && !end.reset && !end.shut {
            return;
        }
        for id in std::mem::take(&mut end.rooms) {
            self.end(id, Ok(Outcome::Done));
        }
    }
}
