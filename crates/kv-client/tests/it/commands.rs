//! Every command does what its page says, with any bytes.

use std::time::Duration;

use kv_client::{Commands, ErrorCode, Isolation, Json, Put, Scan, TimeToLive};

use crate::start;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_and_values_are_any_bytes_both_ways() {
    let (_server, client) = start().await;
    let all: Vec<u8> = (0..=255).collect();
    let hostile: [&[u8]; 6] = [&all, b"\r\n", b"\"", b"\\", b" spaces and\ttabs ", b"NIL"];
    for key in hostile {
        for value in hostile.into_iter().chain([&b""[..]]) {
            client.put(key, value).await.unwrap();
            assert_eq!(client.get(key).await.unwrap().as_deref(), Some(value));
        }
    }
    let keys: Vec<_> = client.page(Scan::all()).await.unwrap();
    assert_eq!(keys.len(), hostile.len());
    for (key, _) in keys {
        assert!(client.delete(&key).await.unwrap());
        assert!(!client.delete(&key).await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_value_comes_back_whole() {
    let (_server, client) = start().await;
    let value: Vec<u8> = (0..16 << 20).map(|at: u32| (at % 251) as u8).collect();
    client.put("large", &value).await.unwrap();
    assert!(client.get("large").await.unwrap().as_deref() == Some(&value));
    let error = client.put("larger", vec![0; (16 << 20) + 1]).await.unwrap_err();
    assert_eq!(error.server_code(), Some(ErrorCode::TooBig), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_are_text_numbers_and_serde_types() {
    let (_server, client) = start().await;
    client.put("text", "größe").await.unwrap();
    assert_eq!(client.get("text").await.unwrap().unwrap().to_str().unwrap(), "größe");
    client.put("number", -7_i64).await.unwrap();
    assert_eq!(client.increment("number", 10).await.unwrap(), 3);
    assert_eq!(client.get("number").await.unwrap().unwrap().parse::<i64>().unwrap(), 3);
    client.put("json", Json(vec![Some(1), None])).await.unwrap();
    let back: Vec<Option<u8>> = client.get("json").await.unwrap().unwrap().json().unwrap();
    assert_eq!(back, [Some(1), None]);
    assert!(client.meta("json").await.unwrap().unwrap().json);
    assert!(!client.meta("text").await.unwrap().unwrap().json);
    let error = client.get("text").await.unwrap().unwrap().parse::<i64>().unwrap_err();
    assert_eq!(error.code(), "VALUE");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conditions_tell_the_current_version() {
    let (_server, client) = start().await;
    client.put_with("k", "1", Put::new().if_absent()).await.unwrap();
    let error = client.put_with("k", "2", Put::new().if_absent()).await.unwrap_err();
    assert_eq!(error.server_code(), Some(ErrorCode::Precondition));
    assert_eq!(error.current_version(), Some(1), "{error}");
    client.put_with("k", "2", Put::new().if_version(1)).await.unwrap();
    let error = client.delete_version("k", 1).await.unwrap_err();
    assert_eq!(error.current_version(), Some(2), "{error}");
    assert!(!error.is_retryable());
    assert!(client.delete_version("k", 2).await.unwrap());
    let error = client.put_with("k", "3", Put::new().if_present()).await.unwrap_err();
    assert_eq!(error.current_version(), Some(0), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_expire_and_can_be_kept() {
    let (_server, client) = start().await;
    let hour = Duration::from_secs(3600);
    client.put_with("k", "v", Put::new().expires_after(hour)).await.unwrap();
    assert_eq!(client.time_to_live("k").await.unwrap(), TimeToLive::Left(hour));
    assert!(client.persist("k").await.unwrap());
    assert_eq!(client.time_to_live("k").await.unwrap(), TimeToLive::Endless);
    assert!(client.expire("k", hour).await.unwrap());
    assert_eq!(client.meta("k").await.unwrap().unwrap().time_to_live, Some(hour));
    assert_eq!(client.time_to_live("none").await.unwrap(), TimeToLive::NoKey);
    let error = client.expire("k", Duration::from_millis(1500)).await.unwrap_err();
    assert_eq!(error.code(), "CLIENTARGUMENT");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_is_the_newest_first() {
    let (_server, client) = start().await;
    client.put("k", "1").await.unwrap();
    client.put("k", "2").await.unwrap();
    client.delete("k").await.unwrap();
    let history = client.history("k", 10).await.unwrap();
    let values: Vec<_> =
        history.iter().map(|of| of.value.as_ref().map(|value| value.to_str().unwrap())).collect();
    assert_eq!(values, [None, Some("2"), Some("1")]);
    assert_eq!(client.get_version("k", 1).await.unwrap().unwrap(), "1");
    assert_eq!(client.get_at("k", history[1].revision).await.unwrap().unwrap(), "2");
    assert_eq!(client.history("k", 1).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_of_any_length_shows_one_state() {
    let (_server, client) = start().await;
    let keys = 20_000;
    let puts = (0..keys).map(|n| (format!("key:{n:05}"), "x".repeat(100), Put::new()));
    client.put_all(puts).await.unwrap();
    let mut rows = client.scan(Scan::prefix("key:"));
    let (first, _) = rows.next().await.unwrap().unwrap();
    assert_eq!(first, "key:00000");
    // What happens while it is read is not in it.
    client.delete("key:19999").await.unwrap();
    client.put("key:99999", "late").await.unwrap();
    let rest = rows.collect().await.unwrap();
    assert_eq!(rest.len(), keys - 1);
    assert_eq!(rest.last().unwrap().0, "key:19999");
    assert!(rest.windows(2).all(|pair| pair[0].0 < pair[1].0));
    let some = client.scan(Scan::range("key:1", "key:2").limit(5000)).collect().await.unwrap();
    assert_eq!(some.len(), 5000);
    assert_eq!(client.count(Scan::prefix("key:")).await.unwrap(), keys as u64);
    assert!(client.scan(Scan::prefix("none")).collect().await.unwrap().is_empty());
    assert!(client.scan(Scan::all().limit(0)).collect().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conditions_of_scans_are_sent() {
    let (_server, client) = start().await;
    for (key, value) in [("a1", "10"), ("a2", "20.5"), ("b1", "text"), ("b2", "30")] {
        client.put(key, value).await.unwrap();
    }
    let found = async |scan: Scan| -> Vec<String> {
        let page = client.page(scan).await.unwrap();
        page.iter().map(|(key, _)| key.to_str().unwrap().to_owned()).collect()
    };
    assert_eq!(found(Scan::all().matching("?1")).await, ["a1", "b1"]);
    assert_eq!(found(Scan::all().matching_regex("^a[2-9]$")).await, ["a2"]);
    assert_eq!(found(Scan::all().value_equal_to("text")).await, ["b1"]);
    assert_eq!(found(Scan::all().value_matching("t*t")).await, ["b1"]);
    assert_eq!(found(Scan::all().value_matching_regex("0$")).await, ["a1", "b2"]);
    assert_eq!(found(Scan::all().value_between(15.0, 30.0)).await, ["a2", "b2"]);
    assert_eq!(found(Scan::all().value_range("1", "3")).await, ["a1", "a2"]);
    assert_eq!(found(Scan::all().after("a2").limit(1)).await, ["b1"]);
    let near = client.nearest(21.0, 2, "").await.unwrap();
    assert!(near[0].0 == "a2" && near[1].0 == "b2", "{near:?}");
    assert_eq!(client.nearest(21.0, 9, "a").await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_are_answered_in_their_order() {
    let (_server, client) = start().await;
    let puts = (0..12_000).map(|n| (n.to_string(), n, Put::new()));
    client.put_all(puts).await.unwrap();
    let values = client.get_all((0..12_001).map(|n| n.to_string())).await.unwrap();
    for (n, value) in values.iter().enumerate().take(12_000) {
        assert_eq!(*value.as_ref().unwrap(), *n.to_string());
    }
    assert_eq!(values[12_000], None);
    assert_eq!(client.meta_all(["0", "none"]).await.unwrap().iter().flatten().count(), 1);
    assert_eq!(client.delete_all(["0", "none"]).await.unwrap(), [true, false]);
    assert!(client.get_all::<&str>([]).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_calls_share_a_connection_and_get_their_own_replies() {
    let (_server, client) = start().await;
    let tasks = (0..100).map(|task| {
        let client = client.clone();
        tokio::spawn(async move {
            for n in 0..100 {
                let key = format!("{task}:{n}");
                client.put(&key, &key).await.unwrap();
                assert_eq!(client.get(&key).await.unwrap().unwrap(), *key);
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let stats = client.stats().await.unwrap();
    let connections = stats.iter().find(|(name, _)| name == "connections").unwrap();
    assert_eq!(connections.1, "2", "one for reads, one for writes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_takes_what_is_typed() {
    let (_server, client) = start().await;
    let session = client.session().await.unwrap();
    use kv_client::Reply;
    assert_eq!(session.send("BEGIN").await.unwrap(), Reply::Ok(Some(1)));
    assert_eq!(session.send("put \"a b\" 1").await.unwrap(), Reply::Ok(None));
    let open = session.transactions().await.unwrap();
    assert_eq!((open.len(), open[0].id, open[0].isolation), (1, 1, Isolation::Serializable));
    assert_eq!(
        session.send_for_json("GET \"a b\"").await.unwrap(),
        r#"{"status":"Ok","found":true,"result":"1"}"#
    );
    let Reply::List(rows) = session.send("SCAN").await.unwrap() else { panic!("a list") };
    assert_eq!(*rows[0][0].bytes, *b"a b");
    assert_eq!(session.send("SCAN LIMIT 0").await.unwrap(), Reply::List(Vec::new()));
    let refused = session.send_for_json("NONSENSE").await.unwrap();
    assert!(refused.contains("\"code\":\"UNKNOWN\""), "{refused}");
    for wrong in ["", "  ", "GET a\nGET b", "format json"] {
        assert_eq!(session.send(wrong).await.unwrap_err().code(), "CLIENTARGUMENT", "{wrong}");
    }
    assert_eq!(session.send("GET \"").await.unwrap_err().code(), "SYNTAX");
    assert_eq!(session.send("COMMITALL").await.unwrap(), Reply::Ok(Some(1)));
}
