//! Official SDKs as clients, and servers nobody here wrote. The scripts are in `conformance/`; `cargo xtask test`
//! installs what they need.
