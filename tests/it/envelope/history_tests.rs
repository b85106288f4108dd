//! The history of the bench's API server.

use super::{history::World, pods::Layout};

fn world(most_history: usize) -> World {
    World::new(&Layout::new(1, 50, Some(3)), 1, most_history)
}

#[test]
fn page_shows_the_state_at_its_version() {
    let mut world = world(100);
    let (before, at) = (world.page(world.version(), 0, 100).unwrap().0, world.version());
    let gone = world.delete_one().unwrap().slot;
    world.create(gone);
    world.advance(gone).unwrap();
    world.advance((gone + 1) % 50).unwrap();
    assert_eq!(world.page(at, 0, 100).unwrap().0, before);
    assert!(world.page(world.version(), 0, 100).unwrap().0 != before);
    assert_eq!((world.alive(), world.living().count()), (50, 50));
    let (page, next) = world.page(at, 10, 5).unwrap();
    assert_eq!((page.len(), next), (5, 15));
}

#[test]
fn history_ends_where_it_was_cut() {
    let mut world = world(2);
    let at = world.version();
    for _ in 0..3 {
        world.delete_one().unwrap();
    }
    assert!(world.since(at, 10).is_none() && world.page(at, 0, 1).is_none());
    let changes = world.since(at + 1, 10).unwrap();
    assert_eq!(changes.iter().map(|change| change.after.resource_version).collect::<Vec<_>>(), [at + 2, at + 3]);
    assert!(world.since(at + 3, 10).unwrap().is_empty());
}
