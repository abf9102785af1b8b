//! Requests to origins, against a real server on this machine: what is sent, what is refused, and what ends them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sereno_adapters::http::{Options, open};
use sereno_adapters::secrets::Secret;
use sereno_core::ports::http::{Bounds, HttpError};
use sereno_core::run::Mode;
use sereno_core::web::{Answer, Method, Question};
use sereno_tests::house::House;
use sereno_tests::web::{Asked, Told, Web};

const BOUNDS: Bounds = Bounds {
    time: Duration::from_secs(10),
    bytes: 1 << 20,
};

fn options(url: &str, allow_private: bool) -> Options {
    let secret = |text: &str| Secret::from(text.to_owned());
    Options {
        url: secret(url),
        allow_private,
        headers: vec![("Authorization".to_owned(), secret("Bearer of-the-operator"))],
    }
}

fn get(path: &str) -> Question {
    let accept = ("Accept".to_owned(), "text/plain".to_owned());
    Question::new(Method::Get, path, &[accept], Vec::new()).unwrap()
}

async fn ask(url: &str, allow_private: bool, path: &str, bounds: Bounds) -> Result<Answer, HttpError> {
    open(&options(url, allow_private))?.send(&get(path), bounds).await
}

fn echo(asked: &Asked) -> Told {
    let cookie = "set-cookie: a=b\r\netag: \"e\"\r\nx-internal: y\r\ncontent-type: text/plain\r\n";
    Told::Whole(200, cookie.to_owned(), asked.line.clone().into_bytes())
}

#[tokio::test]
async fn a_request_is_the_plugins_in_its_path_and_the_operators_in_who_asks() {
    let web = Web::new(echo);
    let answer = ask(&web.url(), true, "/v1/x?y=1", BOUNDS).await.unwrap();
    assert_eq!(
        answer,
        Answer {
            status: 200,
            headers: vec![
                ("etag".to_owned(), "\"e\"".to_owned()),
                ("content-type".to_owned(), "text/plain".to_owned()),
            ],
            body: b"GET /v1/x?y=1".to_vec(),
        }
    );
    let post = Question::new(Method::Post, "/q", &[], b"a body".to_vec()).unwrap();
    let origin = open(&options(&web.url(), true)).unwrap();
    origin.send(&post, BOUNDS).await.unwrap();
    let preview = origin.preview_send(&post, BOUNDS).await.unwrap();
    assert_eq!((preview.status, preview.body), (204, Vec::new()));
    let asked = web.asked();
    assert_eq!(asked.len(), 2, "a preview sends nothing");
    for asked in &asked {
        assert_eq!(asked.header("authorization"), "Bearer of-the-operator");
        assert_eq!(asked.header("host"), format!("127.0.0.1:{}", web.port()));
        assert!(asked.header("user-agent").starts_with("sereno/"));
        assert_eq!(asked.header("accept-encoding"), "", "nothing is unpacked");
    }
    assert_eq!(asked[1].body, b"a body");
}

#[tokio::test]
async fn a_name_that_leads_to_this_machine_is_refused_before_anything_connects() {
    let web = Web::new(echo);
    // Every machine resolves it, and to itself. The scheme goes with the port: nothing is even begun.
    let error = ask(&format!("https://localhost:{}", web.port()), false, "/", BOUNDS)
        .await
        .unwrap_err();
    let HttpError::Refused(text) = &error else {
        panic!("{error:?}");
    };
    assert!(
        text.contains("a loopback address") && text.contains("allow_private"),
        "{text}"
    );
    for url in [
        web.url(),
        format!("https://127.0.0.1:{}", web.port()),
        "https://[::1]:8".to_owned(),
    ] {
        let error = ask(&url, false, "/", BOUNDS).await.unwrap_err();
        assert!(matches!(error, HttpError::Invalid(_)), "{url}: {error:?}");
    }
    assert_eq!(web.asked(), []);
    // The same name, where it is meant.
    let answer = ask(&format!("http://localhost:{}", web.port()), true, "/", BOUNDS)
        .await
        .unwrap();
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_redirect_is_not_followed_wherever_it_leads() {
    let inner = Web::new(echo);
    let to_inner = inner.url();
    let web = Web::new(move |asked| {
        let to = match asked.line.as_str() {
            "GET /metadata" => "http://169.254.169.254/latest/meta-data/",
            "GET /inner" => &to_inner,
            _ => "/elsewhere",
        };
        Told::Whole(302, format!("location: {to}\r\n"), Vec::new())
    });
    for path in ["/metadata", "/inner", "/self"] {
        let error = ask(&web.url(), true, path, BOUNDS).await.unwrap_err();
        assert!(
            matches!(&error, HttpError::Refused(text) if text.contains("redirects are not followed")),
            "{path}: {error:?}"
        );
    }
    assert_eq!((web.asked().len(), inner.asked().len()), (3, 0));
    let web = Web::new(|_| Told::Whole(304, String::new(), Vec::new()));
    assert_eq!(ask(&web.url(), true, "/", BOUNDS).await.unwrap().status, 304);
}

#[tokio::test]
async fn an_answer_that_drips_or_never_comes_ends_by_its_time() {
    let web = Web::new(|asked| {
        if asked.line.ends_with("drip") {
            Told::Drip
        } else {
            Told::Silence
        }
    });
    let bounds = Bounds {
        time: Duration::from_millis(400),
        ..BOUNDS
    };
    for path in ["/drip", "/silence"] {
        let began = Instant::now();
        let error = ask(&web.url(), true, path, bounds).await.unwrap_err();
        assert_eq!(error, HttpError::Timeout { within: bounds.time }, "{path}");
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "{path}: {:?}",
            began.elapsed()
        );
    }
}

#[tokio::test]
async fn an_answer_of_ten_gigabytes_ends_by_its_bytes() {
    let web = Web::new(|asked| match asked.line.as_str() {
        "GET /told" => Told::Long(10 << 30, true),
        "GET /untold" => Told::Long(10 << 30, false),
        "GET /just" => Told::Whole(200, String::new(), vec![b'x'; 1 << 20]),
        _ => Told::Whole(200, String::new(), vec![b'x'; (1 << 20) + 1]),
    });
    for path in ["/told", "/untold", "/one-more"] {
        let error = ask(&web.url(), true, path, BOUNDS).await.unwrap_err();
        assert_eq!(error, HttpError::TooLong { limit: 1 << 20 }, "{path}");
    }
    let answer = ask(&web.url(), true, "/just", BOUNDS).await.unwrap();
    assert_eq!(answer.body.len(), 1 << 20);
}

#[tokio::test]
async fn a_server_that_is_not_there_or_breaks_off_is_unreachable() {
    let web = Web::new(|_| Told::Torn);
    let torn = ask(&web.url(), true, "/", BOUNDS).await.unwrap_err();
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let gone = ask(&format!("http://{free}"), true, "/", BOUNDS)
        .await
        .unwrap_err();
    let unknown = ask("https://nowhere.invalid", false, "/", BOUNDS)
        .await
        .unwrap_err();
    for error in [torn, gone, unknown] {
        assert!(matches!(error, HttpError::Unreachable { .. }), "{error:?}");
        assert!(!error.to_string().contains("of-the-operator"), "{error}");
    }
    // What speaks no TLS gets no request.
    let plain = Web::new(echo);
    let error = ask(&format!("https://127.0.0.1:{}", plain.port()), true, "/", BOUNDS)
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            HttpError::Unreachable {
                operation: "connect",
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(plain.asked(), []);
}

/// Plans and runs `tell-origin`; what each changed and found, and how often the server was asked after each.
async fn told(web: &Web, origin: &str) -> Vec<(Vec<String>, Vec<String>, usize)> {
    let plugin = "tell-origin";
    let configuration = format!(
        "version = 1\n[origin.web]\nurl = \"${{env:WEB}}\"\nallow_private = true\n{origin}\n\
         [job.tell]\nplugin = \"{plugin}\"\ngrant = {{ origin.web = [\"post\"] }}\n"
    );
    let folder = tempfile::tempdir().unwrap();
    let environment = BTreeMap::from([("WEB".to_owned(), web.url())]);
    let house = House::with_environment(&configuration, folder.path(), environment).unwrap();
    let mut told = Vec::new();
    for mode in [Mode::Plan, Mode::Apply] {
        let report = house.submit(House::request("tell", mode)).await.unwrap();
        let effects = report.effects().map(|effect| {
            format!(
                "{} {} {}: {} of {} {}",
                effect.verb, effect.on, effect.what, effect.done, effect.planned, effect.unit
            )
        });
        let findings = report.findings().map(|finding| finding.text.clone());
        told.push((effects.collect(), findings.collect(), web.asked().len()));
    }
    told
}

#[tokio::test]
async fn a_post_that_changes_something_is_counted_and_no_plan_sends_it() {
    let web = Web::new(echo);
    let told = told(&web, "").await;
    let post = |done: u64| vec![format!("post origin.web /told: {done} of 1 requests")];
    assert_eq!(
        told,
        [
            (post(0), vec!["204".to_owned()], 0),
            (post(1), vec!["200".to_owned()], 1),
        ]
    );
}

#[tokio::test]
async fn a_post_that_only_asks_is_sent_in_plans_too_and_is_no_effect() {
    let web = Web::new(echo);
    let told = told(&web, "query = true").await;
    for (effects, answered, _) in &told {
        assert_eq!(
            (effects.len(), answered.as_slice()),
            (0, ["200".to_owned()].as_slice())
        );
    }
    assert_eq!(web.asked().len(), 2);
    assert_eq!(web.asked()[0].body, b"a body");
}
