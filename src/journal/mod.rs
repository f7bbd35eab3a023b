//! Small durable records on this disk that are not the log's: what a node has to remember of its own doings.
//!
//! A proposer's session is replaced as a whole; a registrar's queue is written on, and replaced when it has no room.
//! Each is durable when it counts; damage is a typed error, and whoever owns the record says what takes its place.
//! Events are soft: what does not read of them is gone, and consumers are told so.

mod asked;
mod events;
mod queue;
mod replace;
mod session;

pub use asked::Asked;
pub use events::{
    EventBatch, EventFiles, EventsFault, EventsFound, EventsHead, is_events, put_events_batch,
    put_events_head, read_events,
};
pub use queue::{
    Held, Kept, Line, NAME as QUEUE, Queue, QueueFault, QueueFigures, QueueFileError, QueueFull, Refused,
    Sent, put_batch, put_head, replay,
};
pub use replace::replace;
pub use session::{NAME as SESSION, SessionFileError, SessionRecord};
