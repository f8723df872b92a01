//! The kept inputs, without an engine.

use std::path::Path;

#[test]
fn no_kept_input_breaks_its_target() {
    for (name, target) in byline_fuzz::TARGETS {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
        let mut inputs = 0;
        for file in std::fs::read_dir(&directory).expect("each target has inputs") {
            let path = file.expect("a file").path();
            println!("{}", path.display());
            target(&std::fs::read(&path).expect("an input"));
            inputs += 1;
        }
        assert!(inputs > 10, "{name} has {inputs} inputs");
    }
}
