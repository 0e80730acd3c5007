/** The log of one site: its end as asked for, then every new line as it is written. */

import { api, followLogsPath } from '../api/client';
import { toRequestError, type RequestError } from '../api/error';
import { EventStream, type StreamState } from '../api/event_stream';
import type { LogLine } from '../api/types';
import { appendLines, joinTail, type NumberedLine } from '../logs/lines';

const TAIL_LINES = 200;

export class SiteLogs {
  lines = $state.raw<NumberedLine[]>([]);
  /** Whether the end of the log has arrived. */
  loaded = $state(false);
  error = $state.raw<RequestError | null>(null);
  connection = $state<StreamState>('connecting');

  #site: string;
  #stream: EventStream;
  /** Lines that came while the end of the log was being asked for; `null` once it is here. */
  #early: LogLine[] | null = [];

  constructor(site: string) {
    this.#site = site;
    this.#stream = new EventStream({
      url: followLogsPath(site),
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
    const early: LogLine[] = [];
    this.#early = early;
    try {
      const tail = await api.logs(this.#site, TAIL_LINES);
      if (this.#early !== early) return;
      this.lines = joinTail(tail, early);
      this.loaded = true;
      this.error = null;
    } catch (thrown) {
      if (this.#early !== early) return;
      this.error = toRequestError(thrown);
      this.lines = appendLines(this.lines, early);
    }
    this.#early = null;
  }

  close(): void {
    this.#stream.close();
  }

  #add(line: LogLine): void {
    if (this.#early) this.#early.push(line);
    else this.lines = appendLines(this.lines, [line]);
  }
}
