/** What was written on a page and is not applied yet: who leaves the page is asked first. */

class Drafts {
  /** Whether there is one. */
  any = $state(false);
  #count = 0;

  add(): void {
    this.#count += 1;
    this.any = true;
  }

  remove(): void {
    this.#count -= 1;
    this.any = this.#count > 0;
  }
}

export const drafts = new Drafts();

/** Counts a component's draft as long as it is one and the component lives. */
export function keepDraft(isDraft: () => boolean): void {
  $effect(() => {
    if (!isDraft()) return;
    drafts.add();
    return () => drafts.remove();
  });
}
