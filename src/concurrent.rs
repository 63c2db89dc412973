//! Several things at a time: a few threads, one queue, results in order.

use std::panic;
use std::sync::Mutex;
use std::thread;

/// The work of each item, `jobs` at a time; or as many as suits this machine for
/// work that waits longer than it computes. One thread does an item from its
/// beginning to its end. The results stand in the order of the items.
pub fn map<T: Sync, R: Send>(
    items: &[T],
    jobs: Option<usize>,
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let usual = || thread::available_parallelism().map_or(2, usize::from) * 2;
    let workers = jobs.unwrap_or_else(usual).min(items.len());
    let queue = Mutex::new(items.iter().enumerate());
    let take = || {
        let mut done = Vec::new();
        while let Some((i, item)) = queue.lock().ok().and_then(|mut queue| queue.next()) {
            done.push((i, work(item)));
        }
        done
    };
    let mut results = thread::scope(|scope| {
        // Where no further thread may be started this one does it alone.
        let threads: Vec<_> = (1..workers)
            .map_while(|_| thread::Builder::new().spawn_scoped(scope, take).ok())
            .collect();
        let mut results = take();
        for thread in threads {
            results.extend(
                thread
                    .join()
                    .unwrap_or_else(|why| panic::resume_unwind(why)),
            );
        }
        results
    });
    results.sort_by_key(|(i, _)| *i);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[test]
    fn results_stand_in_the_order_of_the_items() {
        let items: Vec<u64> = (0..40).collect();
        for jobs in [None, Some(1), Some(3), Some(64)] {
            let results = map(&items, jobs, |n| {
                thread::sleep(Duration::from_micros(500 * (n % 3)));
                n * 2
            });
            let expected: Vec<u64> = items.iter().map(|n| n * 2).collect();
            assert_eq!(results, expected, "{jobs:?}");
        }
        assert!(map(&[], None, |n: &u64| *n).is_empty());
    }

    #[test]
    fn no_more_than_so_many_at_a_time() {
        for jobs in [1, 2, 5] {
            let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
            map(&[(); 20], Some(jobs), |()| {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                thread::sleep(Duration::from_millis(2));
                now.fetch_sub(1, Ordering::SeqCst);
            });
            assert!(most.load(Ordering::SeqCst) <= jobs);
        }
    }
}
