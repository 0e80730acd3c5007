/** A request that did not end well: what the appliance said about it, or that it could not be reached. */
export class RequestError extends Error {
  /** The HTTP status; 0 when there was no answer. */
  readonly status: number;
  /** What to do about it; may be empty. */
  readonly hint: string;

  constructor(status: number, message: string, hint = '') {
    super(message);
    this.name = 'RequestError';
    this.status = status;
    this.hint = hint;
  }
}

/** Turns whatever was thrown into something that can be shown. */
export function toRequestError(thrown: unknown): RequestError {
  if (thrown instanceof RequestError) return thrown;
  return new RequestError(0, thrown instanceof Error ? thrown.message : String(thrown));
}
