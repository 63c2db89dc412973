//! How much memory a piece of work asked for at most.
//!
//! libFuzzer sees what a process has touched (`-rss_limit_mb`); this sees what
//! was asked for, also what was never touched, and can hold one execution to a
//! limit that depends on its input.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, Ordering::Relaxed};

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static HELD: AtomicIsize = AtomicIsize::new(0);
static MOST: AtomicIsize = AtomicIsize::new(0);

fn grow(bytes: usize) {
    let held = HELD.load(Relaxed).wrapping_add_unsigned(bytes);
    HELD.store(held, Relaxed);
    if held > MOST.load(Relaxed) {
        MOST.store(held, Relaxed);
    }
}

fn shrink(bytes: usize) {
    HELD.store(HELD.load(Relaxed).wrapping_sub_unsigned(bytes), Relaxed);
}

// SAFETY: the system's allocator does it all; counting touches no memory of it.
// (The counts are those of one thread, which the targets are.)
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        shrink(layout.size());
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        grow(size);
        shrink(layout.size());
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// Does it, and panics where it ever held more than `limit` bytes at once.
pub fn within<T>(limit: usize, work: impl FnOnce() -> T) -> T {
    let before = HELD.load(Relaxed);
    MOST.store(before, Relaxed);
    let done = work();
    let most = (MOST.load(Relaxed) - before) as usize;
    assert!(most <= limit, "it held {most} bytes, of at most {limit}");
    done
}
