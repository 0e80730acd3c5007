/**
 * The admin API as data. The contract is `crates/supervisor/src/api.rs`; names are the same on the wire.
 * Times are milliseconds since the Unix epoch (`_ms`), sizes are bytes.
 */

export interface Session {
  user: string;
  csrf_token: string;
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

export type SiteState = 'starting' | 'running' | 'stopped' | 'failed';
export type Mode = 'embedded' | 'isolated' | 'static';

export interface SiteStatus {
  name: string;
  state: SiteState;
  problem: string | null;
  mode: Mode;
  release: string | null;
  released_ms: number | null;
  domains: string[];
  catch_all: boolean;
  urls: string[];
  kind: string;
  python: string | null;
  workers: WorkerStatus[];
}

export interface WorkerStatus {
  name: string;
  pid: number;
  release: string;
  started_ms: number;
  threads: number;
}

export type ReleaseState = 'staging' | 'ready' | 'failed';

export interface Release {
  id: string;
  created_ms: number;
  live: boolean;
  state: ReleaseState;
  problem: string | null;
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

export interface LogLine {
  at_ms: number;
  /** `app`, `error`, `access` or `onebox`. */
  source: string;
  text: string;
}
