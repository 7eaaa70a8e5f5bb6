//! Another library's Rust archive, with a panic of its own that it catches: two of them in one program must not clash.

use std::panic::catch_unwind;

/// How many of `count` calls panicked.
#[unsafe(no_mangle)]
pub extern "C" fn second_catches(count: u32) -> u32 {
    std::panic::set_hook(Box::new(|_| {}));
    let caught = (0..count).filter(|number| catch_unwind(|| assert!(number % 2 == 0, "odd")).is_err());
    u32::try_from(caught.count()).unwrap_or(u32::MAX)
}
