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

pub const INITIAL: ExecutionState = ExecutionState::Created;
pub const FORMAT: i64 = 1;
pub const MAX_DEPTH: usize = 128;
pub const MAX_PAYLOAD_BYTES: usize = 8388608;
pub const MAX_LABEL_CHARS: usize = 255;
pub const MAX_PATH_CHARS: usize = 1024;
pub const MAX_NOTE_CHARS: usize = 4096;
