"""What a user can put right: one exception per package. The command line prints the message and exits with status 2."""


class EpicsubError(Exception):
    """A problem for the user to solve. The message says what, where, what else there is, and what to do next."""


class PredictionsError(EpicsubError):
    """A file or table of predictions that is not what it should be."""


class RecipeError(EpicsubError):
    """A recipe that cannot be run as it stands."""


class DataError(EpicsubError):
    """Annotations, videos, frames or flow that are missing, damaged or do not fit together."""


class ModelError(EpicsubError):
    """A model, its weights or its input that do not fit together."""


class AdaptationError(EpicsubError):
    """Features or settings that an adaptation method cannot work with."""


class TrainingError(EpicsubError):
    """A run that cannot start, go on or be resumed."""


class NotFiniteError(TrainingError):
    """A run whose loss or gradient has become infinite or no number: it diverged."""


class HubError(EpicsubError):
    """A repository of the Hugging Face hub that cannot be read or written, or holds no model of epicsub."""


class InferenceError(EpicsubError):
    """A checkpoint or a view specification that cannot be turned into predictions."""


class ValidationError(EpicsubError):
    """Predictions, labels and protocol that do not fit together."""


class SubmissionError(EpicsubError):
    """An ensemble or a submission that must not be sent."""


class LiveError(EpicsubError):
    """A camera, a video or an address that the live page cannot work with."""


class RunStoppedError(Exception):
    """A run that was ended from outside, by a signal or with another process, and goes on when it is started again."""
