/** One page's series and the events of the same span, asked for anew as often as a span that goes on wants it. */

import { api } from '../api/client';
import { toRequestError, type RequestError } from '../api/error';
import type { PastEvent, Series } from '../api/types';
import { formatSpan, type Span } from '../charts/span';

export class SeriesLoader<T extends Series> {
  /** `null` until the first answer for the span. */
  series = $state.raw<T | null>(null);
  events = $state.raw<PastEvent[]>([]);
  /** Why the last question had no answer; what is in `series` is older then. */
  error = $state.raw<RequestError | null>(null);
  span = $state.raw<Span | null>(null);

  #load: (span: Span) => Promise<T>;
  #site: string | null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Counts up with each question, so that an answer that was overtaken is left alone. */
  #question = 0;

  constructor(load: (span: Span) => Promise<T>, site: string | null) {
    this.#load = load;
    this.#site = site;
    document.addEventListener('visibilitychange', this.#seen);
  }

  /** Asks for a span; for one that goes on now and again and again. */
  show(span: Span): void {
    if (this.span === null || formatSpan(this.span) !== formatSpan(span)) {
      this.series = null;
      this.events = [];
      this.error = null;
    }
    this.span = span;
    void this.refresh();
  }

  async refresh(): Promise<void> {
    const { span } = this;
    if (span === null) return;
    clearTimeout(this.#timer);
    this.#question += 1;
    const question = this.#question;
    try {
      const series = await this.#load(span);
      // A second more than until now: what has just happened belongs to it.
      const { fromMs, toMs } =
        span.kind === 'past'
          ? span
          : { fromMs: series.from_ms, toMs: series.from_ms + span.ms + series.step_ms + 1_000 };
      const events = await api.pastEvents(fromMs, toMs, this.#site);
      if (question !== this.#question) return;
      this.series = series;
      this.events = events;
      this.error = null;
    } catch (thrown) {
      if (question !== this.#question) return;
      this.error = toRequestError(thrown);
    }
    // A page that nobody sees asks for nothing.
    if (span.kind === 'recent' && !document.hidden) {
      this.#timer = setTimeout(() => void this.refresh(), span.refreshMs);
    }
  }

  close(): void {
    this.#question += 1;
    this.span = null;
    clearTimeout(this.#timer);
    document.removeEventListener('visibilitychange', this.#seen);
  }

  #seen = (): void => {
    if (!document.hidden && this.span?.kind === 'recent') void this.refresh();
  };
}
