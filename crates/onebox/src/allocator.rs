//! The process's allocator and what a supervisor asks of it.

use libmimalloc_sys::{mi_option_set, mi_option_t};
use mimalloc::MiMalloc;

/// A request allocates and frees dozens of small pieces on several threads. Without huge pages, which would cost 20 MB.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// `mi_option_purge_delay` of mimalloc 3 (`mimalloc.h`): milliseconds that free memory waits before the kernel gets it back.
/// The binding has no name for it.
const PURGE_DELAY: mi_option_t = 15;

/// Gives free memory back to the kernel at once. By default that waits for a second and for the thread's next allocation, and
/// an idle supervisor has none: what a deploy or a password's hash took would stay. For processes that serve no site.
#[allow(unsafe_code)]
pub(crate) fn keep_no_free_memory() {
    // SAFETY: sets a number; called before the process has a second thread.
    unsafe { mi_option_set(PURGE_DELAY, 0) };
}

#[cfg(test)]
mod tests {
    use libmimalloc_sys::mi_option_get;

    use super::PURGE_DELAY;

    /// 1000 is the default of no other option that stands beside it.
    #[test]
    #[allow(unsafe_code)]
    fn the_option_is_the_delay() {
        // SAFETY: reads a number.
        assert_eq!(unsafe { mi_option_get(PURGE_DELAY) }, 1000);
    }
}
