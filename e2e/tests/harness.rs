//! The harness against itself: what the other tests lean on must tell a whole message from a cut one.

use e2e::origin::ok;
use e2e::wire::End;
use e2e::{Client, Origin, ask, get};

#[test]
fn an_answer_and_its_request_are_taken_byte_for_byte() {
    let origin = Origin::answering(ok("x-ODD-Case:   v \r\n", "body"));
    let request = get("/a%2Fb?c=d", "X-one: 1\r\nx-ONE: 2\r\n");
    let answer = ask(origin.addr(), &request);
    assert_eq!(answer.head, b"HTTP/1.1 200 OK\r\nx-ODD-Case:   v \r\nContent-Length: 4\r\n\r\n");
    assert_eq!((answer.text().as_str(), answer.end), ("body", End::Length));
    assert_eq!(origin.request().head, request.as_bytes());
    assert_eq!(origin.request().fields.all("x-one"), ["1", "2"]);
    assert_eq!(origin.received(), [request.as_bytes()]);
}

#[test]
fn a_cut_body_is_told_from_a_whole_one() {
    for (sent, expect) in [
        ("Content-Length: 5\r\n\r\nhel", End::Cut),
        ("Content-Length: 3\r\n\r\nhel", End::Length),
        ("Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n", End::Cut),
        ("Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n0\r\n\r\n", End::Chunked),
        ("\r\nhel", End::Close),
    ] {
        let origin = Origin::start(move |visit| {
            visit.request();
            let _ = visit.write(format!("HTTP/1.1 200 OK\r\n{sent}"));
        });
        let answer = ask(origin.addr(), get("/", ""));
        assert_eq!((answer.text().as_str(), answer.end), ("hel", expect), "{sent:?}");
    }
}

#[test]
fn chunks_and_trailers_pass_in_both_directions() {
    let origin = Origin::site(|request| {
        let sent =
            format!("{}|{:?}", String::from_utf8_lossy(&request.body), request.trailers.first("x-sum"));
        format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{sent}\r\n0\r\nX-Back: 1\r\n\r\n",
            sent.len()
        )
        .into_bytes()
    });
    let mut client = Client::connect(origin.addr());
    for _ in 0..2 {
        let answer = client.ask(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
             2;x=y\r\nab\r\n1\r\nc\r\n0\r\nX-Sum: 9\r\n\r\n",
        );
        assert_eq!(answer.text(), "abc|Some(\"9\")");
        assert_eq!(answer.trailers.first("x-back"), Some("1"));
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn interim_answers_are_kept_apart() {
    let origin = Origin::start(|visit| {
        visit.head();
        let _ = visit.write("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n");
        let _ = visit.write("HTTP/1.1 204 No Content\r\n\r\n");
    });
    let answer = ask(origin.addr(), get("/", ""));
    assert_eq!((answer.status, answer.interim.len()), (204, 2));
}
