/** The log of one site: its end as asked for, then every new line as it is written. */

import { api, followLogsPath } from '../api/client';
import { toRequestError, type RequestError } from '../api/error';
import { EventStream, type StreamState } from '../api/event_stream';
import type { LogLine } from '../api/types';
import { MAX_LINES, appendLines, joinTail, type NumberedLine } from '../logs/lines';
import type { WantedRequests } from '../logs/wanted';

const TAIL_LINES = 200;

/** A busy site writes faster than a page can be drawn: lines are shown together, this often. */
const SHOW_EVERY_MS = 250;

export class SiteLogs {
  lines = $state.raw<NumberedLine[]>([]);
  /** Whether the end of the log has arrived. */
  loaded = $state(false);
  error = $state.raw<RequestError | null>(null);
  connection = $state<StreamState>('connecting');

  #site: string;
  #wanted: WantedRequests;
  #stream: EventStream;
  /** Lines that came and are not shown yet, at most as many as are ever shown. */
  #waiting: LogLine[] = [];
  #showTimer: ReturnType<typeof setTimeout> | undefined;
  /** Which request for the end of the log is the latest, and whether it still runs. */
  #reload = 0;
  #reloading = true;

  constructor(site: string, wanted: WantedRequests) {
    this.#site = site;
    this.#wanted = wanted;
    this.#stream = new EventStream({
      url: followLogsPath(site, wanted),
      onState: (state) => {
        this.connection = state;
        if (state === 'open') void this.reload();
      },
      handlers: { line: (line: LogLine) => this.#add(line) },
    });
    void this.reload();
  }

  /** Asks for the end of the log again; lines that come meanwhile follow after it. */
  async reload(): Promise<void> {
    this.#reload += 1;
    const reload = this.#reload;
    this.#reloading = true;
    try {
      const tail = await api.logs(this.#site, TAIL_LINES, this.#wanted);
      if (reload !== this.#reload) return;
      this.lines = joinTail(tail, this.#waiting);
      this.#waiting = [];
      this.loaded = true;
      this.error = null;
    } catch (thrown) {
      if (reload !== this.#reload) return;
      this.error = toRequestError(thrown);
    }
    this.#reloading = false;
    this.#show();
  }

  close(): void {
    this.#stream.close();
    clearTimeout(this.#showTimer);
  }

  #add(line: LogLine): void {
    this.#waiting.push(line);
    if (this.#waiting.length > 2 * MAX_LINES) this.#waiting = this.#waiting.slice(-MAX_LINES);
    this.#showTimer ??= setTimeout(() => this.#show(), SHOW_EVERY_MS);
  }

  #show(): void {
    clearTimeout(this.#showTimer);
    this.#showTimer = undefined;
    if (this.#reloading || this.#waiting.length === 0) return;
    this.lines = appendLines(this.lines, this.#waiting);
    this.#waiting = [];
  }
}
