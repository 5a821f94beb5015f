//! The calls that socket2 and rustix lack or mark unsafe: the only `unsafe` of the workspace, each
//! one a thin wrapper that its safe neighbour explains.
#![expect(
    unsafe_code,
    reason = "five socket options, recvmsg(2) with stamps, unshare(2), sched_setscheduler(2) and \
        malloc_trim(3), which no safe crate offers"
)]

use std::ffi::c_int;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd};

/// `setsockopt` of a plain value.
///
/// # Safety
/// The kernel must take a `T` for this option, and any pointer in it must be valid for the call.
unsafe fn set<T>(fd: impl AsFd, level: c_int, name: c_int, value: &T) -> io::Result<()> {
    let length = size_of::<T>() as libc::socklen_t;
    // SAFETY: the pointer and the length describe `value`, which outlives the call; the kernel only
    // reads it. The descriptor is borrowed, hence open.
    let result = unsafe {
        libc::setsockopt(fd.as_fd().as_raw_fd(), level, name, (&raw const *value).cast(), length)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// `IP_BIND_ADDRESS_NO_PORT` (Linux 4.2): a bind to port 0 takes no port, `connect` chooses it. The
/// option lives at the IPv4 level for both families (ip(7)).
pub(crate) fn bind_address_no_port(fd: impl AsFd) -> io::Result<()> {
    let on: c_int = 1;
    // SAFETY: ip(7): the option takes an int.
    unsafe { set(fd, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, &on) }
}

/// `SO_ATTACH_REUSEPORT_CBPF` (Linux 4.5): `program` chooses the member of the socket's reuse-port
/// group that a new connection goes to (socket(7)).
pub(crate) fn attach_reuseport_program(
    fd: impl AsFd,
    program: &[libc::sock_filter],
) -> io::Result<()> {
    let len = u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    // SAFETY: socket(7): the option takes a sock_fprog. Its pointer and length describe a slice
    // that outlives the call; the kernel copies the instructions, checks them, and never writes.
    unsafe { set(fd, libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_CBPF, &program) }
}

/// `SO_TIMESTAMPING`: the kernel stamps what is received with the time of day, and hands that out.
pub(crate) fn stamp_receipts(fd: impl AsFd) -> io::Result<()> {
    let flags = libc::SOF_TIMESTAMPING_RX_SOFTWARE | libc::SOF_TIMESTAMPING_SOFTWARE;
    // SAFETY: socket(7) and the kernel's timestamping.rst: the option takes an int of flags.
    unsafe { set(fd, libc::SOL_SOCKET, libc::SO_TIMESTAMPING, &flags) }
}

/// Room for the one control message that [`receive_stamped`] gets: `struct scm_timestamping`.
#[repr(C)]
struct StampMessage {
    header: libc::cmsghdr,
    /// By software; deprecated; by the network card.
    stamps: [libc::timespec; 3],
}

// The stamps follow their header without a gap, as CMSG_DATA(3) has it.
const _: () = assert!(size_of::<StampMessage>() == size_of::<libc::cmsghdr>() + 3 * 16);

/// `recvmsg(2)` with room for the kernel's stamp of the last bytes; `None` where there is none.
#[inline]
pub(crate) fn receive_stamped(
    fd: impl AsFd,
    buffer: &mut [u8],
) -> io::Result<(usize, Option<libc::timespec>)> {
    let mut parts = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let none = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: both are plain numbers and pointers, for which zeros are valid. Not every C library
    // has the same fields in them, so they cannot be written out here.
    let (header, mut message): (libc::cmsghdr, libc::msghdr) =
        unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
    let mut control = StampMessage { header, stamps: [none; 3] };
    message.msg_iov = &raw mut parts;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = size_of::<StampMessage>() as _;
    // SAFETY: `message` names one buffer and one room for control messages, with their true
    // lengths; all of them outlive the call, and nothing else looks at them meanwhile. The
    // descriptor is borrowed, hence open.
    let count = unsafe { libc::recvmsg(fd.as_fd().as_raw_fd(), &raw mut message, 0) };
    let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
    // Where there was no message the header is still zero.
    let whole = message.msg_flags & libc::MSG_CTRUNC == 0
        && control.header.cmsg_level == libc::SOL_SOCKET
        && control.header.cmsg_type == libc::SCM_TIMESTAMPING;
    let [stamp, ..] = control.stamps;
    let stamped = whole && (stamp.tv_sec, stamp.tv_nsec) != (0, 0);
    Ok((count, stamped.then_some(stamp)))
}

/// Reads an option into `value`, as far as the kernel knows of it; the rest stays as it was.
///
/// # Safety
/// Any bytes are valid for a `T`.
unsafe fn get<T>(fd: impl AsFd, level: i32, option: i32, mut value: T) -> io::Result<T> {
    let mut length = size_of::<T>() as libc::socklen_t;
    // SAFETY: getsockopt(2) writes at most `length` bytes into the value, which the caller lets be
    // any; both outlive the call. The descriptor is borrowed, hence open.
    let result = unsafe {
        libc::getsockopt(
            fd.as_fd().as_raw_fd(),
            level,
            option,
            (&raw mut value).cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
}

/// `TCP_INFO` (tcp(7)). What a kernel does not know of it is zero.
pub(crate) fn tcp_info(fd: impl AsFd) -> io::Result<libc::tcp_info> {
    // SAFETY: it consists of plain numbers, for which zeros, and any bytes, are valid.
    unsafe { get(fd, libc::IPPROTO_TCP, libc::TCP_INFO, std::mem::zeroed()) }
}

/// Where `SO_MEMINFO` has the packets that the socket dropped (`SK_MEMINFO_DROPS`), and how many
/// numbers it gives in all.
const DROPS: usize = 8;
const MEMINFO_NUMBERS: usize = 9;

/// `SO_MEMINFO` (Linux 4.12): what a listening socket has dropped, handshakes and connections.
pub(crate) fn dropped(fd: impl AsFd) -> io::Result<u32> {
    // SAFETY: `linux/sock_diag.h`: the option is an array of u32.
    let numbers = unsafe { get(fd, libc::SOL_SOCKET, libc::SO_MEMINFO, [0_u32; MEMINFO_NUMBERS])? };
    Ok(numbers[DROPS])
}

/// `unshare(CLONE_FILES)` for the calling thread: see [`crate::table::unshare_descriptors`].
pub(crate) fn unshare_files() -> io::Result<()> {
    // SAFETY: the call touches no memory. What it asks of the caller, that no descriptor opened
    // afterwards crosses threads, is the contract of the public function, which passes it on.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::FILES)? };
    Ok(())
}

/// `sched_setscheduler(SCHED_BATCH)` for the calling thread: see
/// [`crate::cpu::schedule_as_batch`].
pub(crate) fn schedule_as_batch() -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: 0 names the calling thread; the kernel reads `parameters`, which outlives the call.
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const parameters) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// `malloc_trim(3)`: gives memory that was freed back to the system, from the arenas of all
/// threads. Other C libraries than glibc do so by themselves, or never.
pub(crate) fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3): it may be called at any time by any thread, and frees nothing in use.
    unsafe {
        libc::malloc_trim(0);
    }
}
