//! The page is part of the executable, loads nothing from other origins, and shows names in full.

use super::Server;

#[tokio::test]
async fn page_files_have_a_strict_policy() {
    // They name no other origin.
    let server = Server::start().await;
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/page/app.js", "text/javascript; charset=utf-8"),
        ("/page/style.css", "text/css; charset=utf-8"),
        ("/page/icon.svg", "image/svg+xml"),
    ] {
        let reply = server.get(path).await;
        assert_eq!((reply.status, reply.kind.as_str()), (200, kind));
        let policy = reply.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(reply.headers["x-content-type-options"], "nosniff");
        let text = reply.text.replace("http://www.w3.org/2000/svg", "");
        assert!(!text.contains("http://") && !text.contains("https://"), "{path} names another origin");
        for risky in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "localStorage"] {
            assert!(!text.contains(risky), "{path} uses {risky}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn style_shortens_no_name() {
    let server = Server::start().await;
    let style = server.get("/page/style.css").await.text;
    assert!(style.contains("overflow-wrap: anywhere") && !style.contains("ellipsis"), "long names wrap");
    server.stop().await;
}
