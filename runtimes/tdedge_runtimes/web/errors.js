/** The model, an input or an option is wrong, as opposed to a runtime that failed. */
export class WrongError extends Error {}
