//! Each planted bug does what it says: the tests that are to find them have something to find.

use kv_persist::log::PlantedBug;
use kv_persist::stored::EMPTY;

use crate::support::{Place, flip, stamp, write_batch};

#[test]
fn a_wrong_checksum_is_accepted_or_not() {
    let mut place = Place::new();
    write_batch(&place.open(), 1);
    // The last byte of the key, in the only record.
    flip(&place.last_segment(), 128 + 32 + 24 + 5, 1);
    let keys = |place: &Place| {
        let mut keys = Vec::new();
        let recovered =
            kv_persist::log::recover(&*place.fs, &place.options, EMPTY, &mut |record| {
                keys.push(record.changes().next().expect("a change")?.key.to_vec());
                Ok(())
            });
        recovered.expect("recovered");
        keys
    };
    assert_eq!(keys(&place), Vec::<Vec<u8>>::new());
    place.options.planted = Some(PlantedBug::AcceptWrongChecksum);
    assert_eq!(keys(&place), [b"key 0"]);
}

#[test]
fn the_last_record_is_lost_or_not() {
    let mut place = Place::new();
    write_batch(&place.open(), 3);
    place.options.planted = Some(PlantedBug::StopOneRecordEarly);
    assert_eq!(place.recover(EMPTY).expect("recovered").through, stamp(2));
    assert_eq!(place.open().synced().get(), 2);
    place.options.planted = None;
    assert_eq!(place.last(), 2);
}
