/**
 * Server-sent events that come back by themselves: after an error answer (which ends a plain `EventSource`
 * for good), from the last event on where events have ids, and, where `stallMs` is set, after silence, as a laptop leaves behind that slept.
 */

export type StreamState = 'connecting' | 'open' | 'lost';

export interface EventStreamOptions {
  url: string;
  /** By event name; the payload is the parsed `data`. */
  handlers: Record<string, (payload: never) => void>;
  onState: (state: StreamState) => void;
  /** Silence after which the connection counts as lost. */
  stallMs?: number;
}

const FIRST_RETRY_MS = 1_000;
const LAST_RETRY_MS = 10_000;

export class EventStream {
  #options: EventStreamOptions;
  #source: EventSource | null = null;
  #retryMs = FIRST_RETRY_MS;
  #retryTimer: ReturnType<typeof setTimeout> | undefined;
  #stallTimer: ReturnType<typeof setTimeout> | undefined;
  /** Of the last event; empty while none had one. */
  #lastId = '';

  constructor(options: EventStreamOptions) {
    this.#options = options;
    this.#connect();
  }

  close(): void {
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#stallTimer);
    this.#source?.close();
    this.#source = null;
  }

  #connect(): void {
    const { url } = this.#options;
    // A browser names the last event only where it comes back by itself, and not for a new `EventSource`.
    const source = new EventSource(
      this.#lastId === '' ? url : `${url}?last_event_id=${encodeURIComponent(this.#lastId)}`,
    );
    this.#source = source;
    this.#options.onState('connecting');
    source.onopen = () => {
      this.#retryMs = FIRST_RETRY_MS;
      this.#options.onState('open');
      this.#expectEvent();
    };
    source.onerror = () => this.#retry();
    for (const [name, handle] of Object.entries(this.#options.handlers)) {
      source.addEventListener(name, (event) => {
        this.#expectEvent();
        this.#lastId = (event as MessageEvent<string>).lastEventId;
        handle(JSON.parse((event as MessageEvent<string>).data) as never);
      });
    }
    this.#expectEvent();
  }

  #expectEvent(): void {
    clearTimeout(this.#stallTimer);
    if (this.#options.stallMs === undefined) return;
    this.#stallTimer = setTimeout(() => this.#retry(), this.#options.stallMs);
  }

  #retry(): void {
    this.close();
    this.#options.onState('lost');
    this.#retryTimer = setTimeout(() => this.#connect(), this.#retryMs);
    this.#retryMs = Math.min(this.#retryMs * 2, LAST_RETRY_MS);
  }
}
