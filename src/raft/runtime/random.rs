//! openraft's random numbers, which spread election timeouts: drawn from the core's ring, and so from the seed of a
//! simulation.

use std::convert::Infallible;

use rand::TryRng;

use crate::uring::Core;

/// The current core's source of random numbers.
#[derive(Debug)]
pub struct CoreRandom;

impl TryRng for CoreRandom {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_le_bytes(Core::current().random()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_le_bytes(Core::current().random()))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        for chunk in out.chunks_mut(8) {
            let drawn: [u8; 8] = Core::current().random();
            chunk.copy_from_slice(&drawn[..chunk.len()]);
        }
        Ok(())
    }
}
