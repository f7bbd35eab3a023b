//! The kernel's error numbers as one type, so that callers ask questions of it and never read its text.

use std::fmt;

/// An error number of Linux (errno(3)).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Errno(pub i32);

impl Errno {
    /// No such file or directory.
    pub const NOT_FOUND: Self = Self(libc::ENOENT);
    /// The name exists already.
    pub const EXISTS: Self = Self(libc::EEXIST);
    /// Input or output error of the device.
    pub const IO: Self = Self(libc::EIO);
    /// No space left on the device.
    pub const NO_SPACE: Self = Self(libc::ENOSPC);
    /// The operation was cancelled.
    pub const CANCELED: Self = Self(libc::ECANCELED);
    /// The argument is not valid, or the file system does not know the option.
    pub const INVALID: Self = Self(libc::EINVAL);
    /// The descriptor is not open.
    pub const BAD_DESCRIPTOR: Self = Self(libc::EBADF);
    /// Not supported here.
    pub const NOT_SUPPORTED: Self = Self(libc::EOPNOTSUPP);
    /// The peer reset the connection.
    pub const RESET: Self = Self(libc::ECONNRESET);
    /// Nobody listens at the address.
    pub const REFUSED: Self = Self(libc::ECONNREFUSED);
    /// The connection is closed for sending.
    pub const BROKEN_PIPE: Self = Self(libc::EPIPE);
    /// The address is in use.
    pub const ADDRESS_IN_USE: Self = Self(libc::EADDRINUSE);
    /// The time ran out.
    pub const TIMED_OUT: Self = Self(libc::ETIMEDOUT);
    /// Try again later: a lock is held, or a resource is short for now.
    pub const AGAIN: Self = Self(libc::EAGAIN);
    /// Memory that may be locked is used up, or memory is.
    pub const NO_MEMORY: Self = Self(libc::ENOMEM);
    /// The socket, or the system, has no more memory for what is to be sent.
    pub const NO_BUFFERS: Self = Self(libc::ENOBUFS);
    /// The path leaves its directory (openat2's RESOLVE_BENEATH), or the link crosses file systems.
    pub const CROSSES: Self = Self(libc::EXDEV);
    /// A symbolic link where none may be (openat2's RESOLVE_NO_SYMLINKS).
    pub const LOOP: Self = Self(libc::ELOOP);
    /// Not a directory.
    pub const NOT_A_DIRECTORY: Self = Self(libc::ENOTDIR);
    /// A directory.
    pub const IS_A_DIRECTORY: Self = Self(libc::EISDIR);
    /// A name, or a path as a whole, is longer than the file system or the kernel takes.
    pub const NAME_TOO_LONG: Self = Self(libc::ENAMETOOLONG);
    /// Too many links to one file.
    pub const TOO_MANY_LINKS: Self = Self(libc::EMLINK);
    /// Interrupted before anything was done.
    pub const INTERRUPTED: Self = Self(libc::EINTR);

    /// The disk, or the caller's quota, is full.
    #[must_use]
    pub fn is_disk_full(self) -> bool {
        self.0 == libc::ENOSPC || self.0 == libc::EDQUOT
    }

    /// The system does not let this process do it: a right that it lacks, or a filter.
    #[must_use]
    pub fn is_forbidden(self) -> bool {
        [libc::EPERM, libc::EACCES, libc::ENOSYS].contains(&self.0)
    }

    /// A file cannot be read, and asking again does not help: the device fails, the file system is damaged, or it is
    /// not ours to read.
    #[must_use]
    pub fn is_unreadable(self) -> bool {
        [libc::EIO, libc::EUCLEAN, libc::EBADMSG, libc::EACCES, libc::EPERM].contains(&self.0)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", std::io::Error::from_raw_os_error(self.0))
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Errno({}: {self})", self.0)
    }
}

impl std::error::Error for Errno {}

impl From<Errno> for std::io::Error {
    fn from(errno: Errno) -> Self {
        Self::from_raw_os_error(errno.0)
    }
}

impl From<std::io::Error> for Errno {
    fn from(error: std::io::Error) -> Self {
        Self(error.raw_os_error().unwrap_or(libc::EIO))
    }
}
