//! What the domain crate costs by itself: per step, per record, per transition. The answers are checked first.
#![allow(clippy::expect_used)] // what goes wrong in a benchmark is the end of it

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use stepwell_benches::{Recorder, STEPS, recorded, replayed};
use stepwell_core::Execution;

fn check() {
    let mut recorder = recorded().expect("an answer");
    let id = recorder.execution.header().id;
    let before = recorder.execution.to_json(false);
    assert_eq!(recorder.execution.steps().len(), STEPS);
    assert_eq!(recorder.execution.steps().open(), 0);
    let records = recorder.execution.drain();
    assert_eq!(records.iter().len(), 2 * STEPS + 2);
    assert_eq!(replayed(id, &records).expect("an answer").to_json(false), before);
    let json = recorder.execution.to_json(true);
    let again = Execution::from_json(&json).expect("an answer");
    assert_eq!(again.to_json(true), json);
}

fn kernel(criterion: &mut Criterion) {
    check();
    let mut group = criterion.benchmark_group("per step");
    group.throughput(Throughput::Elements(STEPS as u64));
    group.bench_function("start and complete", |bench| {
        bench.iter_batched(
            || Recorder::new().expect("an answer"),
            |mut recorder| {
                recorder.steps(STEPS).expect("an answer");
                recorder
            },
            BatchSize::PerIteration,
        );
    });
    let mut full = recorded().expect("an answer").execution;
    let records = full.drain();
    let json = full.to_json(true);
    group.bench_function("to_json", |bench| {
        bench.iter(|| black_box(full.to_json(true)));
    });
    group.bench_function("from_json", |bench| {
        bench.iter(|| Execution::from_json(black_box(&json)).expect("an answer"));
    });
    group.finish();

    let mut group = criterion.benchmark_group("per record");
    group.throughput(Throughput::Elements(records.iter().len() as u64));
    group.bench_function("drain", |bench| {
        bench.iter_batched(
            || recorded().expect("an answer"),
            |mut recorder| (recorder.execution.drain(), recorder),
            BatchSize::PerIteration,
        );
    });
    let id = full.header().id;
    group.bench_function("replay", |bench| {
        bench.iter(|| replayed(id, black_box(&records)).expect("an answer"));
    });
    group.finish();

    let mut group = criterion.benchmark_group("per transition");
    group.throughput(Throughput::Elements(2000));
    group.bench_function("pause and resume", |bench| {
        bench.iter_batched(
            || Recorder::new().expect("an answer"),
            |mut recorder| {
                for _ in 0..1000 {
                    recorder.pause_and_resume().expect("an answer");
                }
                recorder
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(15)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = kernel
}
criterion_main!(benches);
