//! The judge judged: what it must refuse, it refuses. A judge that lets a
//! fault pass would make every row of the table worth less.

use crate::encode::encode;
use crate::packet::decode;
use crate::pattern::{Names, matches};
use crate::table::tokens;
use crate::topic::check_filter;
use crate::watch::Watch;
use crate::wire::bytes_from_notation;

fn bytes(text: &str) -> Vec<u8> {
    let words = tokens(text).expect("words");
    bytes_from_notation(&words).expect("notation")
}

fn packet(text: &str) -> Vec<u8> {
    encode(&tokens(text).expect("words"), 5, "id").expect("a packet")
}

/// Feeds a watch over the server with (`>` judge or `<` product, packet).
fn watched(lines: &[&str]) -> Result<(), String> {
    let mut watch = Watch::new(true);
    for line in lines {
        let (direction, text) = line.split_at(1);
        let from_server = direction == "<";
        let mut packet = decode(&packet(text), 5, from_server)?.ok_or("not complete")?;
        if from_server {
            watch.seen(&mut packet)?;
        } else {
            watch.sent(&packet);
        }
    }
    Ok(())
}

#[test]
fn the_judge_reads_what_it_writes() {
    for text in [
        "connack sp=1 code=0 prop.user=a:b prop.receive_maximum=5",
        "publish topic=a qos=1 id=9 dup=1 payload=hex:00ff prop.alias=3 prop.sub_id=1 prop.sub_id=300",
        "suback id=5 codes=0,1,2,0x80 prop.reason_string=why",
        "puback id=1 reason=0x10",
        "disconnect reason=0x8e prop.server_reference=other",
        "auth reason=0x18 prop.auth_method=m prop.auth_data=hex:01",
    ] {
        let read = decode(&packet(text), 5, true).expect("legal").expect("complete");
        let mut pattern = tokens(text).expect("words");
        pattern[0] = read.kind.to_string();
        matches(&pattern, &read, &mut Names::new()).expect(text);
    }
}

#[test]
fn the_judge_refuses_illegal_packets_of_a_server() {
    for text in [
        "30 80808080 00",                             // length of five bytes
        "30 8000",                                    // length not in its shortest form
        "30 { 0003 61c328 { } }",                     // ill-formed UTF-8
        "30 { 0003 610062 { } }",                     // U+0000
        r#"30 { s"a/#" { } }"#,                       // wildcard in a topic
        r#"30 { s"" { } }"#,                          // empty topic without alias
        r#"36 { s"a" 0001 { } }"#,                    // QoS 3
        r#"38 { s"a" { } }"#,                         // QoS 0 with DUP
        r#"32 { s"a" 0000 { } }"#,                    // packet identifier 0
        r#"30 { s"a" { 01 02 } }"#,                   // payload format 2
        r#"30 { s"a" { 01 01 } ff }"#,                // payload not the UTF-8 it says
        r#"30 { s"a" { 02 00000001 02 00000001 } }"#, // property twice
        r#"30 { s"a" { 11 00000001 } }"#,             // property of another packet
        r#"30 { s"a" { 7f } }"#,                      // unknown property
        r#"30 { s"a" { 23 0000 } }"#,                 // alias 0
        r#"30 { s"a" 05 01 01 }"#,                    // properties longer than the packet
        "20 { 02 00 { } }",                           // reserved acknowledge flag
        "20 { 01 87 { } }",                           // session present with a refusal
        "20 { 00 01 { } }",                           // reason of MQTT 3
        "20 { 00 00 }",                               // no property length
        "20 { 00 00 { } 00 }",                        // bytes left over
        "40 { 0001 92 }",                             // reason of another packet
        "41 { 0001 }",                                // header flags
        "60 { 0001 }",                                // PUBREL without its flag
        "90 { 0001 { } }",                            // SUBACK without a code
        "90 { 0001 { } 03 }",                         // code that does not exist
        "b0 { 0001 }",                                // UNSUBACK of MQTT 3
        "d0 { 00 }",                                  // PINGRESP with a body
        "e0 { 04 }",                                  // reason of the client
        "e0 { 8e { 11 00000001 } }",                  // session expiry from a server
        "f0 { 19 { 15 0001 6d } }",                   // re-authenticate from a server
        "f0 { 18 { } }",                              // AUTH without a method
        "c0 00",                                      // packet of the client
        "00 00",                                      // no packet
    ] {
        assert!(decode(&bytes(text), 5, true).is_err(), "{text} is taken");
    }
}

#[test]
fn the_judge_refuses_illegal_packets_of_a_client() {
    for text in [
        r#"10 { s"MQTT" 05 03 003c { } s"a" }"#,               // reserved connect flag
        r#"10 { s"MQTT" 05 0a 003c { } s"a" }"#,               // will QoS without will
        r#"10 { s"MQTT" 05 1e 003c { } s"a" { } s"t" s"p" }"#, // will QoS 3
        r#"10 { s"MQTT" 05 02 003c { } s"a" s"user" }"#,       // user without its flag
        r#"10 { s"MQTT" 05 82 003c { } s"a" }"#,               // flag without its user
        r#"10 { s"MQTT" 04 42 003c s"a" s"p" }"#,              // password without user in 3.1.1
        r#"10 { s"MQTT" 04 00 003c s"" }"#,                    // empty id without clean session
        r#"10 { s"MQIsdp" 04 02 003c s"a" }"#,                 // name of another level
        r#"82 { 0001 { } s"a" 03 }"#,                          // QoS 3
        r#"82 { 0001 { } s"a" 40 }"#,                          // reserved option
        r#"82 { 0001 { } s"a" 30 }"#,                          // retain handling 3
        r#"82 { 0001 { } s"$share/g/a" 04 }"#,                 // no local on a share
        r#"82 { 0001 { } s"a/#/b" 00 }"#,                      // misplaced wildcard
        "82 { 0001 { } }",                                     // no filter
        r#"80 { 0001 { } s"a" 00 }"#,                          // header flags
        r#"30 { s"a" { 0b 01 } }"#,                            // subscription identifier
        "20 { 00 00 { } }",                                    // packet of the server
        "e0 { 8e }",                                           // reason of the server
    ] {
        assert!(decode(&bytes(text), 5, false).is_err(), "{text} is taken");
    }
}

#[test]
fn the_judge_knows_filters() {
    for good in ["#", "+", "/", "a/+/#", "$share/g/#", "$SYS/+", "+/+", "$shared"] {
        assert!(check_filter(good.as_bytes()).is_ok(), "{good}");
    }
    for bad in ["", "a#", "#/a", "a+", "+a/b", "$share/g", "$share//a", "$share/g/", "$share/g#/a"] {
        assert!(check_filter(bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn the_watch_refuses_what_a_connection_forbids() {
    let join = [">connect", "<connack"];
    for lines in [
        &["<connack"][..],
        &[">connect", "<pingresp"],
        &[">connect", "<disconnect reason=0x82"],
        &[">connect", "<connack", "<connack"],
        &[">connect", "<connack", "<disconnect reason=0x82", "<pingresp"],
        &[">connect", "<connack", "<puback id=1"],
        &[">connect", "<connack", ">publish topic=a qos=1 id=1", "<pubrec id=1"],
        &[">connect", "<connack", ">subscribe id=1 filter=a@0", "<suback id=1 codes=0,0"],
        &[">connect", "<connack", "<pubrel id=1"],
        &[">connect", "<connack", "<publish topic=a prop.alias=1"],
        &[">connect prop.alias_maximum=1", "<connack", "<publish topic= prop.alias=1"],
        &[">connect", "<connack", "<publish topic=a qos=1 id=1", "<publish topic=b qos=1 id=1"],
        &[">connect prop.receive_maximum=1", "<connack", "<publish topic=a qos=1 id=1", "<publish topic=a qos=1 id=2"],
        &[">connect prop.maximum_packet=30", "<connack", "<publish topic=a payload=fill:30"],
        &[">connect", "<connack prop.response_info=x"],
        &[">connect", "<connack prop.auth_method=x"],
        &[">connect prop.auth_method=x", "<connack"],
        &[">connect", "<auth reason=0x18 prop.auth_method=x"],
        &[">connect prop.request_problem=0", "<connack", ">subscribe id=1 filter=a@0", "<suback id=1 codes=0 prop.reason_string=x"],
    ] {
        assert!(watched(lines).is_err(), "{lines:?} is taken");
    }
    let legal = [
        &join[..],
        &[">publish topic=a qos=2 id=1", "<pubrec id=1", ">pubrel id=1", "<pubcomp id=1"],
        &["<publish topic=a qos=1 id=1", ">puback id=1", "<publish topic=a qos=1 id=1"],
        &[">subscribe id=1 filter=a@0 filter=b@0", "<suback id=1 codes=0,0x80"],
        &["<disconnect reason=0x8e"],
    ]
    .concat();
    watched(&legal).expect("legal");
}
