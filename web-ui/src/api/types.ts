/**
 * The admin API as data. The contract is `crates/supervisor/src/api.rs`; names are the same on the wire.
 * Times are milliseconds since the Unix epoch (`_ms`), sizes are bytes.
 */

export interface EnvVariable {
  name: string;
  value: string;
}

export type Role = 'viewer' | 'operator' | 'admin';

/** What a route needs, and a credential is good for. */
export type Scope = 'metrics' | 'read' | 'deploy' | 'operate' | 'admin';

export interface Session {
  user: string;
  role: Role;
  scopes: Scope[];
  csrf_token: string;
}

export interface User {
  name: string;
  role: Role;
  created_ms: number;
  sessions: number;
}

export interface NewPassword {
  user: string;
  password: string | null;
}

export interface Token {
  name: string;
  user: string;
  scopes: Scope[];
  created_ms: number;
  expires_ms: number | null;
  used_ms: number | null;
}

export interface NewToken {
  name: string;
  scopes: Scope[];
  lasts_s: number | null;
}

export interface CreatedToken {
  name: string;
  token: string;
  expires_ms: number | null;
}

export type RuleAction = 'allow' | 'deny';

export interface AddressRule {
  /** `null`: it stands in box.toml. */
  id: number | null;
  source: 'live' | 'file';
  action: RuleAction;
  network: string;
  site: string | null;
  reason: string | null;
  who: string;
  created_ms: number;
  expires_ms: number | null;
}

export interface NewAddressRule {
  action: RuleAction;
  network: string;
  site: string | null;
  reason: string | null;
  lasts_s: number | null;
}

export interface AddedAddressRule {
  rule: AddressRule;
  warnings: string[];
}

export interface TriedRequest {
  at_ms: number;
  site: string;
  client: string;
  method: string;
  path: string;
  status: number;
}

/** What a rule would have done within the last hour. */
export interface RuleTrial {
  from_ms: number;
  requests: number;
  addresses: number;
  sites: { site: string; requests: number }[];
  examples: TriedRequest[];
  is_own_address: boolean;
}

export interface RuleSuggestion {
  network: string;
  requests: number;
  probes: number;
  examples: string[];
  sites: string[];
  last_ms: number;
}

export interface RuleSuggestions {
  from_ms: number;
  least_probes: number;
  least_percent: number;
  found: RuleSuggestion[];
}

export interface AuditEntry {
  id: number;
  at_ms: number;
  who: string;
  token: string | null;
  client: string;
  action: string;
  target: string | null;
  detail: string | null;
  status: number | null;
}

export interface ApplianceStatus {
  version: string;
  pid: number;
  started_ms: number;
  state_dir: string;
  http: string[];
  admin: string[];
  engine: EngineStatus | null;
  sites: SiteStatus[];
}

export interface EngineStatus {
  generation: number;
  pid: number;
  started_ms: number;
  crashes: number;
}

export type SiteState = 'starting' | 'running' | 'idle' | 'stopped' | 'failed';
export type Mode = 'embedded' | 'isolated' | 'static' | 'proxied';

export interface UpstreamRoute {
  path: string | null;
  name: string | null;
  servers: ServerHealth[];
}

/** A server of an upstream. */
export interface ServerHealth {
  address: string;
  state: 'unknown' | 'up' | 'down' | 'unhealthy' | 'full';
  /** In flight. */
  requests: number;
  problem: string | null;
}

export interface SiteStatus {
  name: string;
  state: SiteState;
  maintenance: boolean;
  problem: string | null;
  mode: Mode;
  release: string | null;
  released_ms: number | null;
  domains: string[];
  catch_all: boolean;
  urls: string[];
  kind: string;
  python: string | null;
  upstreams: UpstreamRoute[];
  certificates: CertificateStatus[];
  workers: WorkerStatus[];
  /** Missing where nothing is stored. */
  cache?: CacheStatus;
}

/** What requests came to in a site's cache since the appliance started. */
export interface CacheStatus {
  hits: number;
  stale: number;
  revalidated: number;
  misses: number;
  /** They went past it. */
  bypassed: number;
  /** 0 to 1; `null`: there was none that could. */
  hit_ratio: number | null;
  /** Of bodies that did not come from their source. */
  saved_bytes: number;
  stored_bytes: number;
}

/** Which stored answers are taken out. */
export type Purge = 'all' | { url: string } | { prefix: string } | { tag: string };

export interface CertificateStatus {
  source: 'own' | 'acme' | 'internal';
  names: string[];
  issuer: string | null;
  not_before_ms: number | null;
  not_after_ms: number | null;
  renews_ms: number | null;
  is_ordering: boolean;
  problem: string | null;
  next_try_ms: number | null;
}

export interface WorkerStatus {
  name: string;
  pid: number;
  release: string;
  started_ms: number;
  threads: number;
  state: 'starting' | 'running' | 'finishing';
  requests: number;
  recycles: number;
  last_recycle: string | null;
}

export type ReleaseState = 'staging' | 'ready' | 'failed';

export interface Release {
  id: string;
  created_ms: number;
  live: boolean;
  state: ReleaseState;
  problem: string | null;
  /** As far back as history goes; `null`: it answered nothing. */
  traffic: TrafficFigures | null;
}

/** What some of a site's requests came to. */
export interface TrafficFigures {
  requests: number;
  /** With a status from 500 to 599. */
  errors: number;
  responses: Record<StatusClass, number>;
  bytes_in: number;
  bytes_out: number;
  p50_ms: number;
  p95_ms: number;
  p99_ms: number;
  /** Where the time of a mean request went. */
  phases_ms: Record<Phase, number>;
}

/** One line of the answer to a long operation (`application/x-ndjson`). */
export type DeployEvent =
  | { event: 'step'; step: string; text: string }
  | { event: 'output'; line: string }
  | { event: 'warning'; text: string }
  | { event: 'done'; site: string; release: string; urls: string[]; total_ms: number }
  | { event: 'failed'; step: string; reason: string; detail: string; hint: string };

export interface ApiErrorBody {
  error: string;
  hint?: string;
}

/** One `sample` event, each second. */
export interface Sample {
  at_ms: number;
  sites: SiteSample[];
  memory_bytes: number;
  /** A share of one core. */
  cpu: number;
}

export interface SiteSample {
  site: string;
  requests_per_s: number;
  static_per_s: number;
  errors_per_s: number;
  p50_ms: number;
  p99_ms: number;
  in_flight: number;
}

/** A value for each point of a series; `null` where nothing was measured, or there is nothing to tell. */
export type SeriesCurve = (number | null)[];

/** Point `i` stands for the time from `from_ms + i * step_ms` on, for `step_ms`. */
export interface Series {
  from_ms: number;
  step_ms: number;
}

export type StatusClass = 'none' | '1xx' | '2xx' | '3xx' | '4xx' | '5xx';
export type CacheOutcome = 'hit' | 'stale' | 'revalidated' | 'miss' | 'bypass';
export type Phase = 'tls' | 'accept' | 'queue' | 'app' | 'body' | 'send';

/** What a site did. */
export interface SiteSeries extends Series {
  responses_per_s: Record<StatusClass, SeriesCurve>;
  static_per_s: SeriesCurve;
  busiest_per_s: SeriesCurve;
  bytes_in_per_s: SeriesCurve;
  bytes_out_per_s: SeriesCurve;
  in_flight: SeriesCurve;
  /** Refused by a limit of the site. */
  limited_per_s: SeriesCurve;
  /** What requests came to in the cache. */
  cache_per_s: Record<CacheOutcome, SeriesCurve>;
  /** Of those that the cache could answer, 0 to 1. */
  hit_ratio: SeriesCurve;
  latency_ms: Record<'p50' | 'p95' | 'p99', SeriesCurve>;
  /** Each phase's share of the mean latency. */
  phases_ms: Record<Phase, SeriesCurve>;
  processes: ProcessSeries[];
}

/** The requests of a site whose paths have a pattern in common. */
export interface RouteFigures extends TrafficFigures {
  /** `/posts/*`; `other`: what is not told apart. */
  route: string;
  /** Of the time of all requests, 0 to 1. */
  time_share: number;
}

/** Where a site's time went, by whole minutes or hours; what took most first. */
export interface RouteReport {
  from_ms: number;
  to_ms: number;
  routes: RouteFigures[];
}

export type DropReason =
  'malformed' | 'slow' | 'handshake' | 'flood' | 'crowd' | 'in_the_way' | 'no_room' | 'no_memory' | 'refused';

/** What the machine did. */
export interface BoxSeries extends Series {
  /** Busy share of all cores together, 0 to 1. */
  cpu: GaugeSeries;
  memory_bytes: GaugeSeries;
  memory_total_bytes: SeriesCurve;
  disk_bytes: GaugeSeries;
  disk_total_bytes: SeriesCurve;
  load: GaugeSeries;
  received_bytes_per_s: SeriesCurve;
  sent_bytes_per_s: SeriesCurve;
  /** Clients that were sent away before they got to a site. */
  dropped_per_s: Record<DropReason, SeriesCurve>;
  processes: ProcessSeries[];
}

export interface ProcessSeries {
  process: string;
  /** A share of one core. */
  cpu: SeriesCurve;
  memory_bytes: GaugeSeries;
  resident_bytes: GaugeSeries;
  threads: GaugeSeries;
  descriptors: GaugeSeries;
  /** Of the time: a thread wanted the GIL and had not got it for 100 ms or more. */
  gil_stalled: SeriesCurve;
  gil_longest_ms: SeriesCurve;
}

export interface GaugeSeries {
  mean: SeriesCurve;
  min: SeriesCurve;
  max: SeriesCurve;
}

export type EventKind =
  | 'deploy'
  | 'deploy-failed'
  | 'rollback'
  | 'restart'
  | 'stop'
  | 'start'
  | 'remove'
  | 'configuration'
  | 'certificate'
  | 'engine-crash'
  | 'deadline'
  | 'wedged'
  | 'worker-crash'
  | 'recycle'
  | 'isolation'
  | 'fallback'
  | 'appliance-start'
  | 'history-start';

/** One thing that happened. */
export interface PastEvent {
  at_ms: number;
  kind: EventKind;
  /** `null` for what concerns the whole box. */
  site: string | null;
  release: string | null;
  text: string;
}

export interface LogLine {
  at_ms: number;
  /** `app`, `error`, `access` or `onebox`. */
  source: string;
  text: string;
}

export type FailureKind = 'exception' | 'deadline' | 'answer';

/** Failures of a site with the same traceback. */
export interface ErrorGroup {
  fingerprint: string;
  kind: FailureKind;
  type: string;
  message: string;
  place: string | null;
  release: string;
  request_id: string;
  count: number;
  first_ms: number;
  last_ms: number;
}

export interface Frame {
  file: string;
  line: number;
  function: string;
  source: string | null;
}

export interface Raised {
  type: string;
  message: string;
  after: 'cause' | 'context' | null;
  frames: Frame[];
}

export interface FailureReport {
  at_ms: number;
  kind: FailureKind;
  site: string;
  release: string;
  worker: string | null;
  request_id: string;
  method: string;
  path: string;
  age_ms: number;
  fingerprint: string;
  place: string | null;
  raised: Raised[];
  printed: string;
}

/** One request; phases in microseconds, `null` for those it did not have. */
export interface RequestRecord {
  request_id: string;
  at_ms: number;
  site: string;
  release: string;
  method: string;
  path: string;
  status: number;
  served_by: 'app' | 'static' | 'upstream' | 'proxy';
  error: string | null;
  bytes_in: number;
  bytes_out: number;
  tls_us: number | null;
  accept_us: number | null;
  queue_us: number | null;
  app_us: number | null;
  body_us: number | null;
  send_us: number | null;
  total_us: number;
  client: string | null;
  user_agent: string | null;
  worker: string | null;
}

/** What requests are looked for; what is empty or `null` is not asked for. */
export interface RequestSearch {
  site: string | null;
  /** A part of the path. */
  path: string;
  /** `404`, or a class: `5xx`. */
  status: string;
  slower_ms: number | null;
  from_ms: number | null;
  to_ms: number | null;
  limit: number;
}

/** Everything that is known of one request. */
export interface Autopsy {
  request_id: string;
  request: RequestRecord | null;
  failures: FailureReport[];
  log: LogLine[];
}
