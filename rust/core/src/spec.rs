//! The lifecycle and the journal format as tables.
//!
//! Made from `spec/*.toml` by `spec/generate.py`; change those.

/// The states of an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ExecutionState {
    Created,
    Planning,
    Running,
    Paused,
    Waiting,
    Completed,
    Failed,
    Cancelled,
}

impl ExecutionState {
    pub const ALL: [ExecutionState; 8] = [
        ExecutionState::Created,
        ExecutionState::Planning,
        ExecutionState::Running,
        ExecutionState::Paused,
        ExecutionState::Waiting,
        ExecutionState::Completed,
        ExecutionState::Failed,
        ExecutionState::Cancelled,
    ];

    pub const NAMES: [&'static str; 8] =
        ["created", "planning", "running", "paused", "waiting", "completed", "failed", "cancelled"];

    /// The name used in journals and in Python.
    pub const fn name(self) -> &'static str {
        match self {
            ExecutionState::Created => "created",
            ExecutionState::Planning => "planning",
            ExecutionState::Running => "running",
            ExecutionState::Paused => "paused",
            ExecutionState::Waiting => "waiting",
            ExecutionState::Completed => "completed",
            ExecutionState::Failed => "failed",
            ExecutionState::Cancelled => "cancelled",
        }
    }

    pub fn parse(name: &str) -> Option<ExecutionState> {
        match name {
            "created" => Some(ExecutionState::Created),
            "planning" => Some(ExecutionState::Planning),
            "running" => Some(ExecutionState::Running),
            "paused" => Some(ExecutionState::Paused),
            "waiting" => Some(ExecutionState::Waiting),
            "completed" => Some(ExecutionState::Completed),
            "failed" => Some(ExecutionState::Failed),
            "cancelled" => Some(ExecutionState::Cancelled),
            _ => None,
        }
    }
}

/// The states of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum StepState {
    Pending,
    Running,
    Completed,
    Failed,
    Skipped,
    Cancelled,
}

impl StepState {
    pub const ALL: [StepState; 6] = [
        StepState::Pending,
        StepState::Running,
        StepState::Completed,
        StepState::Failed,
        StepState::Skipped,
        StepState::Cancelled,
    ];

    pub const NAMES: [&'static str; 6] =
        ["pending", "running", "completed", "failed", "skipped", "cancelled"];

    /// The name used in journals and in Python.
    pub const fn name(self) -> &'static str {
        match self {
            StepState::Pending => "pending",
            StepState::Running => "running",
            StepState::Completed => "completed",
            StepState::Failed => "failed",
            StepState::Skipped => "skipped",
            StepState::Cancelled => "cancelled",
        }
    }

    pub fn parse(name: &str) -> Option<StepState> {
        match name {
            "pending" => Some(StepState::Pending),
            "running" => Some(StepState::Running),
            "completed" => Some(StepState::Completed),
            "failed" => Some(StepState::Failed),
            "skipped" => Some(StepState::Skipped),
            "cancelled" => Some(StepState::Cancelled),
            _ => None,
        }
    }
}

/// What kind of act a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum StepType {
    Function,
    Llm,
    Tool,
    Graph,
    Condition,
    Loop,
    Wait,
    Scope,
    Child,
}

impl StepType {
    pub const ALL: [StepType; 9] = [
        StepType::Function,
        StepType::Llm,
        StepType::Tool,
        StepType::Graph,
        StepType::Condition,
        StepType::Loop,
        StepType::Wait,
        StepType::Scope,
        StepType::Child,
    ];

    pub const NAMES: [&'static str; 9] =
        ["function", "llm", "tool", "graph", "condition", "loop", "wait", "scope", "child"];

    /// The name used in journals and in Python.
    pub const fn name(self) -> &'static str {
        match self {
            StepType::Function => "function",
            StepType::Llm => "llm",
            StepType::Tool => "tool",
            StepType::Graph => "graph",
            StepType::Condition => "condition",
            StepType::Loop => "loop",
            StepType::Wait => "wait",
            StepType::Scope => "scope",
            StepType::Child => "child",
        }
    }

    pub fn parse(name: &str) -> Option<StepType> {
        match name {
            "function" => Some(StepType::Function),
            "llm" => Some(StepType::Llm),
            "tool" => Some(StepType::Tool),
            "graph" => Some(StepType::Graph),
            "condition" => Some(StepType::Condition),
            "loop" => Some(StepType::Loop),
            "wait" => Some(StepType::Wait),
            "scope" => Some(StepType::Scope),
            "child" => Some(StepType::Child),
            _ => None,
        }
    }
}

/// Why an execution waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum WaitReason {
    Approval,
    UserInput,
    RateLimit,
    External,
    Checkpoint,
    CostThreshold,
    MemoryPressure,
    SubAgent,
    Timer,
}

impl WaitReason {
    pub const ALL: [WaitReason; 9] = [
        WaitReason::Approval,
        WaitReason::UserInput,
        WaitReason::RateLimit,
        WaitReason::External,
        WaitReason::Checkpoint,
        WaitReason::CostThreshold,
        WaitReason::MemoryPressure,
        WaitReason::SubAgent,
        WaitReason::Timer,
    ];

    pub const NAMES: [&'static str; 9] = [
        "approval",
        "user_input",
        "rate_limit",
        "external",
        "checkpoint",
        "cost_threshold",
        "memory_pressure",
        "sub_agent",
        "timer",
    ];

    /// The name used in journals and in Python.
    pub const fn name(self) -> &'static str {
        match self {
            WaitReason::Approval => "approval",
            WaitReason::UserInput => "user_input",
            WaitReason::RateLimit => "rate_limit",
            WaitReason::External => "external",
            WaitReason::Checkpoint => "checkpoint",
            WaitReason::CostThreshold => "cost_threshold",
            WaitReason::MemoryPressure => "memory_pressure",
            WaitReason::SubAgent => "sub_agent",
            WaitReason::Timer => "timer",
        }
    }

    pub fn parse(name: &str) -> Option<WaitReason> {
        match name {
            "approval" => Some(WaitReason::Approval),
            "user_input" => Some(WaitReason::UserInput),
            "rate_limit" => Some(WaitReason::RateLimit),
            "external" => Some(WaitReason::External),
            "checkpoint" => Some(WaitReason::Checkpoint),
            "cost_threshold" => Some(WaitReason::CostThreshold),
            "memory_pressure" => Some(WaitReason::MemoryPressure),
            "sub_agent" => Some(WaitReason::SubAgent),
            "timer" => Some(WaitReason::Timer),
            _ => None,
        }
    }
}

/// What kind of thing an execution was started by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ParentType {
    Execution,
    StepExecution,
    UserMessage,
    System,
    Schedule,
}

impl ParentType {
    pub const ALL: [ParentType; 5] = [
        ParentType::Execution,
        ParentType::StepExecution,
        ParentType::UserMessage,
        ParentType::System,
        ParentType::Schedule,
    ];

    pub const NAMES: [&'static str; 5] =
        ["execution", "step_execution", "user_message", "system", "schedule"];

    /// The name used in journals and in Python.
    pub const fn name(self) -> &'static str {
        match self {
            ParentType::Execution => "execution",
            ParentType::StepExecution => "step_execution",
            ParentType::UserMessage => "user_message",
            ParentType::System => "system",
            ParentType::Schedule => "schedule",
        }
    }

    pub fn parse(name: &str) -> Option<ParentType> {
        match name {
            "execution" => Some(ParentType::Execution),
            "step_execution" => Some(ParentType::StepExecution),
            "user_message" => Some(ParentType::UserMessage),
            "system" => Some(ParentType::System),
            "schedule" => Some(ParentType::Schedule),
            _ => None,
        }
    }
}

/// The kinds of journal records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    Created,
    Plan,
    Start,
    Pause,
    Resume,
    Wait,
    InputReceived,
    Complete,
    Fail,
    Cancel,
    StepScheduled,
    StepStarted,
    StepCompleted,
    StepRetrying,
    StepFailed,
    StepSkipped,
    StepCancelled,
    StepUsage,
    StepsScheduled,
    StepsStarted,
    StepsCompleted,
    StepsFailed,
    StepsCancelled,
}

impl Kind {
    pub const ALL: [Kind; 23] = [
        Kind::Created,
        Kind::Plan,
        Kind::Start,
        Kind::Pause,
        Kind::Resume,
        Kind::Wait,
        Kind::InputReceived,
        Kind::Complete,
        Kind::Fail,
        Kind::Cancel,
        Kind::StepScheduled,
        Kind::StepStarted,
        Kind::StepCompleted,
        Kind::StepRetrying,
        Kind::StepFailed,
        Kind::StepSkipped,
        Kind::StepCancelled,
        Kind::StepUsage,
        Kind::StepsScheduled,
        Kind::StepsStarted,
        Kind::StepsCompleted,
        Kind::StepsFailed,
        Kind::StepsCancelled,
    ];

    pub const NAMES: [&'static str; 23] = [
        "created",
        "plan",
        "start",
        "pause",
        "resume",
        "wait",
        "input_received",
        "complete",
        "fail",
        "cancel",
        "step_scheduled",
        "step_started",
        "step_completed",
        "step_retrying",
        "step_failed",
        "step_skipped",
        "step_cancelled",
        "step_usage",
        "steps_scheduled",
        "steps_started",
        "steps_completed",
        "steps_failed",
        "steps_cancelled",
    ];

    /// The name used in journals and in Python.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Created => "created",
            Kind::Plan => "plan",
            Kind::Start => "start",
            Kind::Pause => "pause",
            Kind::Resume => "resume",
            Kind::Wait => "wait",
            Kind::InputReceived => "input_received",
            Kind::Complete => "complete",
            Kind::Fail => "fail",
            Kind::Cancel => "cancel",
            Kind::StepScheduled => "step_scheduled",
            Kind::StepStarted => "step_started",
            Kind::StepCompleted => "step_completed",
            Kind::StepRetrying => "step_retrying",
            Kind::StepFailed => "step_failed",
            Kind::StepSkipped => "step_skipped",
            Kind::StepCancelled => "step_cancelled",
            Kind::StepUsage => "step_usage",
            Kind::StepsScheduled => "steps_scheduled",
            Kind::StepsStarted => "steps_started",
            Kind::StepsCompleted => "steps_completed",
            Kind::StepsFailed => "steps_failed",
            Kind::StepsCancelled => "steps_cancelled",
        }
    }

    pub fn parse(name: &str) -> Option<Kind> {
        match name {
            "created" => Some(Kind::Created),
            "plan" => Some(Kind::Plan),
            "start" => Some(Kind::Start),
            "pause" => Some(Kind::Pause),
            "resume" => Some(Kind::Resume),
            "wait" => Some(Kind::Wait),
            "input_received" => Some(Kind::InputReceived),
            "complete" => Some(Kind::Complete),
            "fail" => Some(Kind::Fail),
            "cancel" => Some(Kind::Cancel),
            "step_scheduled" => Some(Kind::StepScheduled),
            "step_started" => Some(Kind::StepStarted),
            "step_completed" => Some(Kind::StepCompleted),
            "step_retrying" => Some(Kind::StepRetrying),
            "step_failed" => Some(Kind::StepFailed),
            "step_skipped" => Some(Kind::StepSkipped),
            "step_cancelled" => Some(Kind::StepCancelled),
            "step_usage" => Some(Kind::StepUsage),
            "steps_scheduled" => Some(Kind::StepsScheduled),
            "steps_started" => Some(Kind::StepsStarted),
            "steps_completed" => Some(Kind::StepsCompleted),
            "steps_failed" => Some(Kind::StepsFailed),
            "steps_cancelled" => Some(Kind::StepsCancelled),
            _ => None,
        }
    }
}

/// Where an execution action leads; `None` where it is refused.
pub const fn execution_transition(kind: Kind, from: ExecutionState) -> Option<ExecutionState> {
    match (kind, from) {
        (Kind::Plan, ExecutionState::Created) => Some(ExecutionState::Planning),
        (Kind::Start, ExecutionState::Created) => Some(ExecutionState::Running),
        (Kind::Start, ExecutionState::Planning) => Some(ExecutionState::Running),
        (Kind::Pause, ExecutionState::Planning) => Some(ExecutionState::Paused),
        (Kind::Pause, ExecutionState::Running) => Some(ExecutionState::Paused),
        (Kind::Pause, ExecutionState::Waiting) => Some(ExecutionState::Paused),
        (Kind::Resume, ExecutionState::Waiting) => Some(ExecutionState::Running),
        (Kind::Wait, ExecutionState::Planning) => Some(ExecutionState::Waiting),
        (Kind::Wait, ExecutionState::Running) => Some(ExecutionState::Waiting),
        (Kind::InputReceived, ExecutionState::Running) => Some(ExecutionState::Running),
        (Kind::InputReceived, ExecutionState::Waiting) => Some(ExecutionState::Running),
        (Kind::InputReceived, ExecutionState::Paused) => Some(ExecutionState::Paused),
        (Kind::Complete, ExecutionState::Running) => Some(ExecutionState::Completed),
        (Kind::Fail, ExecutionState::Created) => Some(ExecutionState::Failed),
        (Kind::Fail, ExecutionState::Planning) => Some(ExecutionState::Failed),
        (Kind::Fail, ExecutionState::Running) => Some(ExecutionState::Failed),
        (Kind::Fail, ExecutionState::Paused) => Some(ExecutionState::Failed),
        (Kind::Fail, ExecutionState::Waiting) => Some(ExecutionState::Failed),
        (Kind::Cancel, ExecutionState::Created) => Some(ExecutionState::Cancelled),
        (Kind::Cancel, ExecutionState::Planning) => Some(ExecutionState::Cancelled),
        (Kind::Cancel, ExecutionState::Running) => Some(ExecutionState::Cancelled),
        (Kind::Cancel, ExecutionState::Paused) => Some(ExecutionState::Cancelled),
        (Kind::Cancel, ExecutionState::Waiting) => Some(ExecutionState::Cancelled),
        _ => None,
    }
}

/// Where a step action leads; `None` where it is refused.
pub const fn step_transition(kind: Kind, from: StepState) -> Option<StepState> {
    match (kind, from) {
        (Kind::StepStarted, StepState::Pending) => Some(StepState::Running),
        (Kind::StepCompleted, StepState::Running) => Some(StepState::Completed),
        (Kind::StepRetrying, StepState::Running) => Some(StepState::Pending),
        (Kind::StepFailed, StepState::Running) => Some(StepState::Failed),
        (Kind::StepFailed, StepState::Pending) => Some(StepState::Failed),
        (Kind::StepSkipped, StepState::Pending) => Some(StepState::Skipped),
        (Kind::StepCancelled, StepState::Pending) => Some(StepState::Cancelled),
        (Kind::StepCancelled, StepState::Running) => Some(StepState::Cancelled),
        (Kind::StepUsage, StepState::Running) => Some(StepState::Running),
        _ => None,
    }
}

/// Whether `resume` from this state goes back to where the execution was paused from.
pub const fn returns(kind: Kind, state: ExecutionState) -> bool {
    match (kind, state) {
        (Kind::Resume, ExecutionState::Paused) => true,
        _ => false,
    }
}

/// Whether the state of an execution lets this step action happen.
pub const fn step_allowed(kind: Kind, state: ExecutionState) -> bool {
    match (kind, state) {
        (Kind::StepScheduled, ExecutionState::Planning) => true,
        (Kind::StepStarted, ExecutionState::Planning) => true,
        (Kind::StepCompleted, ExecutionState::Planning) => true,
        (Kind::StepRetrying, ExecutionState::Planning) => true,
        (Kind::StepFailed, ExecutionState::Planning) => true,
        (Kind::StepSkipped, ExecutionState::Planning) => true,
        (Kind::StepCancelled, ExecutionState::Planning) => true,
        (Kind::StepUsage, ExecutionState::Planning) => true,
        (Kind::StepScheduled, ExecutionState::Running) => true,
        (Kind::StepStarted, ExecutionState::Running) => true,
        (Kind::StepCompleted, ExecutionState::Running) => true,
        (Kind::StepRetrying, ExecutionState::Running) => true,
        (Kind::StepFailed, ExecutionState::Running) => true,
        (Kind::StepSkipped, ExecutionState::Running) => true,
        (Kind::StepCancelled, ExecutionState::Running) => true,
        (Kind::StepUsage, ExecutionState::Running) => true,
        (Kind::StepCompleted, ExecutionState::Waiting) => true,
        (Kind::StepRetrying, ExecutionState::Waiting) => true,
        (Kind::StepFailed, ExecutionState::Waiting) => true,
        (Kind::StepSkipped, ExecutionState::Waiting) => true,
        (Kind::StepCancelled, ExecutionState::Waiting) => true,
        (Kind::StepUsage, ExecutionState::Waiting) => true,
        (Kind::StepCompleted, ExecutionState::Paused) => true,
        (Kind::StepRetrying, ExecutionState::Paused) => true,
        (Kind::StepFailed, ExecutionState::Paused) => true,
        (Kind::StepSkipped, ExecutionState::Paused) => true,
        (Kind::StepCancelled, ExecutionState::Paused) => true,
        (Kind::StepUsage, ExecutionState::Paused) => true,
        _ => false,
    }
}

/// The state in which a step action creates its step.
pub const fn step_created(kind: Kind) -> Option<StepState> {
    match kind {
        Kind::StepScheduled => Some(StepState::Pending),
        Kind::StepStarted => Some(StepState::Running),
        _ => None,
    }
}

/// The single action that a bulk action repeats.
pub const fn single(kind: Kind) -> Option<Kind> {
    match kind {
        Kind::StepsScheduled => Some(Kind::StepScheduled),
        Kind::StepsStarted => Some(Kind::StepStarted),
        Kind::StepsCompleted => Some(Kind::StepCompleted),
        Kind::StepsFailed => Some(Kind::StepFailed),
        Kind::StepsCancelled => Some(Kind::StepCancelled),
        _ => None,
    }
}

impl ExecutionState {
    /// Whether no action leads out of this state.
    pub const fn is_terminal(self) -> bool {
        matches!(
            self,
            ExecutionState::Completed | ExecutionState::Failed | ExecutionState::Cancelled
        )
    }
}

impl StepState {
    /// Whether no action leads out of this state.
    pub const fn is_terminal(self) -> bool {
        matches!(
            self,
            StepState::Completed | StepState::Failed | StepState::Skipped | StepState::Cancelled
        )
    }
}

/// The names of fields in records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    AmountMicros,
    Blueprint,
    CallableId,
    Counter,
    Error,
    Errors,
    Format,
    Id,
    Input,
    Inputs,
    Key,
    Keys,
    Name,
    Names,
    Output,
    Outputs,
    ParentId,
    ParentStepId,
    ParentType,
    Payload,
    Place,
    Places,
    Reason,
    RetryAt,
    SchemaVersion,
    Source,
    StepId,
    Steps,
    Tenant,
    Type,
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldType {
    ParentType,
    StepType,
    WaitReason,
    Exec,
    Int,
    Json,
    Jsons,
    Label,
    Labels,
    Note,
    Path,
    Paths,
    Runs,
    Step,
    Time,
}

/// A field of a record: its name, the name as it is written, its type, whether it must be there.
pub type Row = (Field, &'static str, FieldType, bool);

/// The fields of a record in order.
pub const fn record(kind: Kind) -> &'static [Row] {
    match kind {
        Kind::Created => &[
            (Field::Format, r#","format":"#, FieldType::Int, true),
            (Field::Id, r#","id":"#, FieldType::Exec, true),
            (Field::Tenant, r#","tenant":"#, FieldType::Label, true),
            (Field::ParentType, r#","parent_type":"#, FieldType::ParentType, false),
            (Field::ParentId, r#","parent_id":"#, FieldType::Label, false),
            (Field::SchemaVersion, r#","schema_version":"#, FieldType::Label, false),
            (Field::Blueprint, r#","blueprint":"#, FieldType::Label, false),
            (Field::Key, r#","key":"#, FieldType::Label, false),
            (Field::Input, r#","input":"#, FieldType::Json, false),
        ],
        Kind::Plan => &[],
        Kind::Start => &[],
        Kind::Pause => &[(Field::Reason, r#","reason":"#, FieldType::Note, false)],
        Kind::Resume => &[],
        Kind::Wait => &[(Field::Reason, r#","reason":"#, FieldType::WaitReason, true)],
        Kind::InputReceived => &[
            (Field::StepId, r#","step_id":"#, FieldType::Step, false),
            (Field::Payload, r#","payload":"#, FieldType::Json, false),
        ],
        Kind::Complete => &[(Field::Output, r#","output":"#, FieldType::Json, false)],
        Kind::Fail => &[(Field::Error, r#","error":"#, FieldType::Json, true)],
        Kind::Cancel => &[(Field::Reason, r#","reason":"#, FieldType::Note, false)],
        Kind::StepScheduled => &[
            (Field::StepId, r#","step_id":"#, FieldType::Step, true),
            (Field::Name, r#","name":"#, FieldType::Label, true),
            (Field::Type, r#","type":"#, FieldType::StepType, false),
            (Field::Key, r#","key":"#, FieldType::Label, false),
            (Field::ParentStepId, r#","parent_step_id":"#, FieldType::Step, false),
            (Field::Input, r#","input":"#, FieldType::Json, false),
            (Field::Source, r#","source":"#, FieldType::Json, false),
            (Field::CallableId, r#","callable_id":"#, FieldType::Label, false),
            (Field::Place, r#","place":"#, FieldType::Path, false),
        ],
        Kind::StepStarted => &[
            (Field::StepId, r#","step_id":"#, FieldType::Step, true),
            (Field::Name, r#","name":"#, FieldType::Label, false),
            (Field::Type, r#","type":"#, FieldType::StepType, false),
            (Field::Key, r#","key":"#, FieldType::Label, false),
            (Field::ParentStepId, r#","parent_step_id":"#, FieldType::Step, false),
            (Field::Input, r#","input":"#, FieldType::Json, false),
            (Field::Source, r#","source":"#, FieldType::Json, false),
            (Field::CallableId, r#","callable_id":"#, FieldType::Label, false),
            (Field::Place, r#","place":"#, FieldType::Path, false),
        ],
        Kind::StepCompleted => &[
            (Field::StepId, r#","step_id":"#, FieldType::Step, true),
            (Field::Output, r#","output":"#, FieldType::Json, false),
        ],
        Kind::StepRetrying => &[
            (Field::StepId, r#","step_id":"#, FieldType::Step, true),
            (Field::Error, r#","error":"#, FieldType::Json, true),
            (Field::RetryAt, r#","retry_at":"#, FieldType::Time, false),
        ],
        Kind::StepFailed => &[
            (Field::StepId, r#","step_id":"#, FieldType::Step, true),
            (Field::Error, r#","error":"#, FieldType::Json, true),
        ],
        Kind::StepSkipped => &[
            (Field::StepId, r#","step_id":"#, FieldType::Step, true),
            (Field::Reason, r#","reason":"#, FieldType::Note, false),
        ],
        Kind::StepCancelled => &[
            (Field::StepId, r#","step_id":"#, FieldType::Step, true),
            (Field::Reason, r#","reason":"#, FieldType::Note, false),
        ],
        Kind::StepUsage => &[
            (Field::StepId, r#","step_id":"#, FieldType::Step, true),
            (Field::Counter, r#","counter":"#, FieldType::Label, true),
            (Field::AmountMicros, r#","amount_micros":"#, FieldType::Int, true),
        ],
        Kind::StepsScheduled => &[
            (Field::Steps, r#","steps":"#, FieldType::Runs, true),
            (Field::Name, r#","name":"#, FieldType::Label, false),
            (Field::Names, r#","names":"#, FieldType::Labels, false),
            (Field::Type, r#","type":"#, FieldType::StepType, false),
            (Field::Key, r#","key":"#, FieldType::Label, false),
            (Field::Keys, r#","keys":"#, FieldType::Labels, false),
            (Field::ParentStepId, r#","parent_step_id":"#, FieldType::Step, false),
            (Field::Input, r#","input":"#, FieldType::Json, false),
            (Field::Inputs, r#","inputs":"#, FieldType::Jsons, false),
            (Field::Source, r#","source":"#, FieldType::Json, false),
            (Field::CallableId, r#","callable_id":"#, FieldType::Label, false),
            (Field::Place, r#","place":"#, FieldType::Path, false),
            (Field::Places, r#","places":"#, FieldType::Paths, false),
        ],
        Kind::StepsStarted => &[
            (Field::Steps, r#","steps":"#, FieldType::Runs, true),
            (Field::Name, r#","name":"#, FieldType::Label, false),
            (Field::Names, r#","names":"#, FieldType::Labels, false),
            (Field::Type, r#","type":"#, FieldType::StepType, false),
            (Field::Key, r#","key":"#, FieldType::Label, false),
            (Field::Keys, r#","keys":"#, FieldType::Labels, false),
            (Field::ParentStepId, r#","parent_step_id":"#, FieldType::Step, false),
            (Field::Input, r#","input":"#, FieldType::Json, false),
            (Field::Inputs, r#","inputs":"#, FieldType::Jsons, false),
            (Field::Source, r#","source":"#, FieldType::Json, false),
            (Field::CallableId, r#","callable_id":"#, FieldType::Label, false),
            (Field::Place, r#","place":"#, FieldType::Path, false),
            (Field::Places, r#","places":"#, FieldType::Paths, false),
        ],
        Kind::StepsCompleted => &[
            (Field::Steps, r#","steps":"#, FieldType::Runs, true),
            (Field::Output, r#","output":"#, FieldType::Json, false),
            (Field::Outputs, r#","outputs":"#, FieldType::Jsons, false),
        ],
        Kind::StepsFailed => &[
            (Field::Steps, r#","steps":"#, FieldType::Runs, true),
            (Field::Error, r#","error":"#, FieldType::Json, false),
            (Field::Errors, r#","errors":"#, FieldType::Jsons, false),
        ],
        Kind::StepsCancelled => &[
            (Field::Steps, r#","steps":"#, FieldType::Runs, true),
            (Field::Reason, r#","reason":"#, FieldType::Note, false),
        ],
    }
}

pub const INITIAL: ExecutionState = ExecutionState::Created;
pub const FORMAT: i64 = 1;
pub const MAX_DEPTH: usize = 128;
pub const MAX_PAYLOAD_BYTES: usize = 8388608;
pub const MAX_LABEL_CHARS: usize = 255;
pub const MAX_PATH_CHARS: usize = 1024;
pub const MAX_NOTE_CHARS: usize = 4096;
pub const MAX_BULK_STEPS: usize = 1048576;
