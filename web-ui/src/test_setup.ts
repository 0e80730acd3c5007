/** What jsdom lacks of a browser. */

import { configure } from '@testing-library/svelte';
import { afterEach, vi } from 'vitest';

// A busy machine is slow, and no failure.
configure({ asyncUtilTimeout: 20_000 });

// Tests without a page have no dialogs.
if ('HTMLDialogElement' in globalThis) {
  HTMLDialogElement.prototype.showModal ??= function (this: HTMLDialogElement) {
    this.open = true;
  };
  HTMLDialogElement.prototype.close ??= function (this: HTMLDialogElement) {
    this.open = false;
  };
}

afterEach(() => vi.unstubAllGlobals());
